/* When launches ran. softgpu tells for each one; elsewhere launches are sampled with pairs of
 * events, at most one every SAMPLE_NS, and the device's clock is tied to ours by a reference
 * event. */
#ifndef TALLY_ENGINE_TIMING_H
#define TALLY_ENGINE_TIMING_H

#include "engine/launch/times.h"
#include <stdbool.h>
#include <stdint.h>

#include "engine/engine.h"
#include "engine/launch/launch.h"

struct timing_sample;

/* False: short of memory. Session thread only, as all but timing_launch_done. */
bool timing_open(struct session *session);
void timing_close(struct session *session);
/* Around the driver's launch call. */
struct timing_sample *timing_begin(struct session *session, const struct launch *launch,
                                   uint64_t tag);
void timing_end(struct session *session, const struct launch *launch, struct timing_sample *sample,
                CUresult result);
/* Whether the driver reports the end of launches, by their tags, without being asked. */
bool timing_is_reported(const struct session *session);
bool timing_driver_reports(const struct tally_engine *engine);
/* The driver's report, on its threads. */
void timing_launch_done(struct session *session, const struct launch_times *times,
                        uint64_t arrived_ns);

#endif
