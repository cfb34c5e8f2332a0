/* Sessions come, change and go. */
#ifndef TALLY_SCHED_SESSIONS_H
#define TALLY_SCHED_SESSIONS_H

#include "state.h"

/* What events do. */
int tally_sched_open_session(struct tally_sched *s, const struct tally_sched_event *event);
int tally_sched_set_session(struct tally_sched *s, const struct tally_sched_event *event);
int tally_sched_close_session(struct tally_sched *s, const struct tally_sched_event *event);
/* Goes on closing sessions as long as there is room for instructions; false: there is none. */
bool tally_sched_close_sessions(struct tally_sched *s);

#endif
