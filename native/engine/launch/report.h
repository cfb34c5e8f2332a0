/* What the device reports: the end of a start, of counted work, of everything a session had; that a
 * stream has got to a gate. Any thread. */
#ifndef TALLY_ENGINE_REPORT_H
#define TALLY_ENGINE_REPORT_H

#include <stdbool.h>
#include <stdint.h>

#include "engine/launch/books.h"
#include "engine/launch/times.h"

/* A report of a start or of counted work. Whether it was a launch; if so, also its time of arrival,
 * 0: not known. */
bool schedule_report(struct schedule *schedule, const struct launch_times *times,
                     uint64_t *arrived_ns);
/* A stream has got to its gate of that number, of the start with this tag. */
void gate_reached(struct session *session, uint64_t tag, uint32_t place, uint32_t number);
/* A sticky error: what the session has outstanding will not run. */
void schedule_session_failed(struct session *session, CUresult error);

/* Under the lock: the device has reported the start, and the core knows its launch. */
void start_ended(struct schedule *s, struct start *start);
/* Under the lock: every start and launch of the session leaves the books. */
void schedule_forget(struct schedule *s, struct session *session, CUresult error);

#endif
