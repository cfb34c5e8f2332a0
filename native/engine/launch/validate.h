/* The scheduler's books, walked. For tests. */
#ifndef TALLY_ENGINE_VALIDATE_H
#define TALLY_ENGINE_VALIDATE_H

struct schedule;
struct session;

/* NULL, or what is wrong with the launches in the books. Under the lock; looks at those alone that
 * are in use, so that it can be asked after every step. */
const char *schedule_check(const struct schedule *s);
/* NULL, or what is wrong with the session's books. Takes the schedule's lock. Session thread, or
 * nobody's. */
const char *schedule_validate(const struct session *session);

#endif
