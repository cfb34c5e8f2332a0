#include "engine/launch/timing.h"

#include <stdlib.h>

#include "engine/launch/launch.h"
#include "engine/parts.h"
#include "engine/session/session.h"
#include "engine/streams/stream.h"

#define SAMPLES 8u
#define SAMPLE_NS 200000ull /* least time between two sampled launches */
/* The clocks are tied anew so often; a float holds 1 s to 0.1 us. */
#define REFERENCE_NS 1000000000ull
#define REFERENCE_WAIT_NS 100000ull /* an idle stream answers sooner, or the sample is left out */

struct timing_sample {
    CUevent start, end;
    uint64_t arrived_ns;
    CUevent reference; /* the one that was current */
    uint64_t reference_ns;
    bool pending;
};

struct timing {
    struct timing_sample samples[SAMPLES];
    CUstream clock;
    CUevent references[2]; /* samples in flight may need the previous one */
    uint32_t current;
    uint64_t reference_ns;
    uint64_t next_ns;
};

bool timing_open(struct session *session)
{
    const struct tally_driver *cu = &session->driver->cu;
    if (session->driver->ops->reports_ends && !session->engine->config.event_timing)
        return true;
    if (!cu->cuEventElapsedTime_v2 && !cu->cuEventElapsedTime)
        return true;
    struct timing *timing = session->timing = calloc(1, sizeof *timing);
    if (!timing ||
        cu->cuStreamCreateWithPriority(&timing->clock, CU_STREAM_NON_BLOCKING, session->priority))
        return false;
    CUresult result = CUDA_SUCCESS;
    for (uint32_t i = 0; i < 2 && !result; i++)
        result = cu->cuEventCreate(&timing->references[i], CU_EVENT_DEFAULT);
    for (uint32_t i = 0; i < SAMPLES && !result; i++) {
        result = cu->cuEventCreate(&timing->samples[i].start, CU_EVENT_DEFAULT);
        if (!result)
            result = cu->cuEventCreate(&timing->samples[i].end, CU_EVENT_DEFAULT);
    }
    return result == CUDA_SUCCESS;
}

void timing_close(struct session *session)
{
    struct timing *timing = session->timing;
    const struct tally_driver *cu = &session->driver->cu;
    if (!timing)
        return;
    for (uint32_t i = 0; i < SAMPLES; i++) {
        if (timing->samples[i].start)
            cu->cuEventDestroy_v2(timing->samples[i].start);
        if (timing->samples[i].end)
            cu->cuEventDestroy_v2(timing->samples[i].end);
    }
    for (uint32_t i = 0; i < 2; i++)
        if (timing->references[i])
            cu->cuEventDestroy_v2(timing->references[i]);
    if (timing->clock)
        cu->cuStreamDestroy_v2(timing->clock);
    free(timing);
    session->timing = NULL;
}

static bool elapsed_ns(const struct tally_driver *cu, CUevent from, CUevent to, uint64_t *ns)
{
    float ms = 0;
    CUresult result = cu->cuEventElapsedTime_v2 ? cu->cuEventElapsedTime_v2(&ms, from, to)
                                                : cu->cuEventElapsedTime(&ms, from, to);
    *ns = ms > 0 ? (uint64_t)((double)ms * 1e6) : 0;
    return result == CUDA_SUCCESS;
}

static void harvest(struct session *session, struct timing *timing)
{
    const struct tally_driver *cu = &session->driver->cu;
    struct tally_session_stats *stats = &session->stats;
    for (uint32_t i = 0; i < SAMPLES; i++) {
        struct timing_sample *sample = &timing->samples[i];
        uint64_t start_ns, device_ns;
        if (!sample->pending || cu->cuEventQuery(sample->end) == CUDA_ERROR_NOT_READY)
            continue;
        sample->pending = false;
        if (!elapsed_ns(cu, sample->reference, sample->start, &start_ns) ||
            !elapsed_ns(cu, sample->start, sample->end, &device_ns))
            continue;
        start_ns += sample->reference_ns;
        tally_stats_add(stats, TALLY_COUNT_TIMED_LAUNCHES, 1);
        tally_stats_add(stats, TALLY_COUNT_DEVICE_NS, device_ns);
        tally_histogram_add(&stats->timings[TALLY_TIME_DEVICE], device_ns);
        tally_histogram_add(&stats->timings[TALLY_TIME_QUEUE_DELAY],
                            start_ns > sample->arrived_ns ? start_ns - sample->arrived_ns : 0);
    }
}

static bool tie_clocks(struct session *session, struct timing *timing)
{
    const struct tally_driver *cu = &session->driver->cu;
    uint64_t now_ns = engine_now_ns();
    if (timing->reference_ns && now_ns - timing->reference_ns < REFERENCE_NS)
        return true;
    uint32_t next = 1 - timing->current;
    for (uint32_t i = 0; i < SAMPLES; i++)
        if (timing->samples[i].pending && timing->samples[i].reference == timing->references[next])
            return false;
    if (cu->cuEventRecord(timing->references[next], timing->clock) != CUDA_SUCCESS)
        return false;
    while (cu->cuEventQuery(timing->references[next]) == CUDA_ERROR_NOT_READY)
        if (engine_now_ns() - now_ns > REFERENCE_WAIT_NS)
            return false;
    timing->current = next;
    timing->reference_ns = now_ns;
    return true;
}

struct timing_sample *timing_begin(struct session *session, const struct launch *launch,
                                   uint64_t tag)
{
    struct timing *timing = session->timing;
    if (!timing) {
        session->driver->ops->tag(session->driver, tag);
        return NULL;
    }
    if (launch->arrived_ns < timing->next_ns)
        return NULL;
    timing->next_ns = launch->arrived_ns + SAMPLE_NS;
    harvest(session, timing);
    if (!tie_clocks(session, timing))
        return NULL;
    for (uint32_t i = 0; i < SAMPLES; i++) {
        struct timing_sample *sample = &timing->samples[i];
        if (sample->pending)
            continue;
        sample->arrived_ns = launch->arrived_ns;
        sample->reference = timing->references[timing->current];
        sample->reference_ns = timing->reference_ns;
        bool begun = session->driver->cu.cuEventRecord(sample->start, launch->stream->driver) ==
                     CUDA_SUCCESS;
        return begun ? sample : NULL;
    }
    return NULL;
}

void timing_end(struct session *session, const struct launch *launch, struct timing_sample *sample,
                CUresult result)
{
    if (!session->timing)
        session->driver->ops->tag(session->driver, 0); /* copies have tags too */
    if (sample && result == CUDA_SUCCESS)
        sample->pending =
            session->driver->cu.cuEventRecord(sample->end, launch->stream->driver) == CUDA_SUCCESS;
}

bool timing_driver_reports(const struct tally_engine *engine)
{
    const struct tally_engine_config *config = &engine->config;
    return engine->driver.ops->reports_ends && !config->event_timing &&
           !config->soft_dry; /* what is skipped is not reported */
}

bool timing_is_reported(const struct session *session)
{
    return timing_driver_reports(session->engine);
}

void timing_launch_done(struct session *session, const struct launch_times *times,
                        uint64_t arrived_ns)
{
    struct tally_session_stats *stats = &session->stats;
    uint64_t device_ns = times->end_ns > times->start_ns ? times->end_ns - times->start_ns : 0;
    tally_stats_add(stats, TALLY_COUNT_TIMED_LAUNCHES, 1);
    tally_stats_add(stats, TALLY_COUNT_DEVICE_NS, device_ns);
    tally_stats_add(stats, TALLY_COUNT_BUSY_NS, times->busy_ns);
    tally_stats_add(stats, TALLY_COUNT_BLOCKS, times->blocks);
    tally_histogram_add(&stats->timings[TALLY_TIME_DEVICE], device_ns);
    if (arrived_ns) /* 0: not known */
        tally_histogram_add(&stats->timings[TALLY_TIME_QUEUE_DELAY],
                            times->start_ns > arrived_ns ? times->start_ns - arrived_ns : 0);
}
