/* The scheduler's books, walked. For tests. */
#ifndef TALLY_ENGINE_VALIDATE_H
#define TALLY_ENGINE_VALIDATE_H

struct session;

/* NULL, or what is wrong with the session's books. Takes the schedule's lock. Session thread, or nobody's. */
const char *schedule_validate(const struct session *session);

#endif
