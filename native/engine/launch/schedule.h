/* The scheduler core (native/sched) at work in an engine: events in from sessions and from the device,
 * instructions carried out.
 *
 * Who does what:
 *   session thread   submits its launches one by one and carries out their starts. While a launch has not all
 *                    been started, or may have to be started again, it takes no further op, except for
 *                    launches that can be stopped too (turns.c): so everything behind it is deferred, and
 *                    the ops left in the socket are the flow control.
 *   device's report  softgpu's worker threads, or the completion threads of a session: the end of a start.
 *   timer thread     the core's timer.
 * All of them call the core under schedule.lock, the innermost lock of the engine; softgpu takes it inside
 * its own. Under it nothing calls softgpu: the flag of a guarded launch is raised by a store. With a real
 * device it is one write on a stream of its own, which waits for nothing. */
#ifndef TALLY_ENGINE_SCHEDULE_H
#define TALLY_ENGINE_SCHEDULE_H

#include "engine/session/session.h"
#include "tally/plan.h"
#include "tally/sched.h"

struct schedule;

struct schedule *schedule_create(struct tally_engine *engine);
void schedule_destroy(struct schedule *schedule);

/* Before the session's first launch, and when its thread ends: after session_close no report of the
 * session's launches is expected any more. */
bool schedule_session_open(struct session *session);
void schedule_session_close(struct session *session);
/* The session is ending: a thread that waits for its turn gives up. Any thread. */
void schedule_wake(struct session *session);
/* A sticky error: what the session has outstanding will not run. */
void schedule_session_failed(struct session *session, CUresult error);

/* Runs a launch as the policy wants it. Session thread; returns when the launch is with the device to its
 * end, has all been run, or can be stopped and runs. */
CUresult schedule_launch(struct session *session, struct launch *launch);
/* Session thread, before it does anything else: waits until launches that it let go have all been run; before
 * it gives the stream of a launch anything: until those of other streams have. */
void schedule_settle(struct session *session);
void schedule_make_way(struct session *session, const struct launch *launch);
/* Session thread, called (session_call): starts again what had been stopped. */
void schedule_go_on(struct session *session);
/* The place of a queue of the session of whose launches none is in the books; QUEUE_NONE: there is none, or, with
 * `wait`, the session ends before there is. Session thread. */
uint32_t schedule_idle_queue(struct session *session, bool wait);
/* softgpu's report of a start or of counted work. Whether it was a launch; if so, also its time of arrival,
 * 0: not known. */
bool schedule_report(struct schedule *schedule, const struct softgpu_launch_times *times, uint64_t *arrived_ns);

int schedule_set_policy(struct schedule *schedule, uint32_t policy);
uint32_t schedule_policy(struct schedule *schedule);
/* Whether streams of high sessions should have the device's high priority. Any thread. */
bool schedule_uses_levels(const struct schedule *schedule);
int schedule_set_limits(struct schedule *schedule, const struct tally_sched_limits *limits);
void schedule_read(struct schedule *schedule, struct tally_sched_stats *stats);
/* Brings the session's counters up to what the core knows. */
void schedule_count(struct session *session);
/* NULL, or what is wrong with the session's books. For tests: walks them, under the lock. Session thread. */
const char *schedule_validate(const struct session *session);
uint32_t schedule_export_plans(struct schedule *schedule, struct tally_plan_record *records, uint32_t max);
/* What the session has had with the device for longest; false: nothing. */
bool schedule_running(struct session *session, struct tally_running *running);
uint64_t schedule_plans_evicted(struct schedule *schedule);
uint32_t schedule_import_plans(struct schedule *schedule, const struct tally_plan_record *records, uint32_t count);

#endif
