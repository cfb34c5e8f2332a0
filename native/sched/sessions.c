/* The life of a session: opened, changed, closed, and gone once nothing of it is left. */
#include "sessions.h"

#include "gaps.h"
#include "launches.h"
#include "lists.h"
#include "policy.h"
#include "state.h"
#include "turnaround.h"
#include "work.h"

static bool session_words_ok(const struct tally_sched_event *event)
{
    return event->class_ <= TALLY_SCHED_HIGH && event->weight >= 1 && event->weight <= WEIGHT_MAX;
}

/* The slot of a job; a new one's, if none of its sessions is open. */
static uint32_t join_job(struct tally_sched *s, uint64_t number)
{
    uint32_t at = NONE;
    for (uint32_t i = 0; i < s->config.sessions_max; i++) {
        if (s->jobs[i].sessions == 0 && at == NONE)
            at = i;
        if (s->jobs[i].sessions > 0 && number != 0 && s->jobs[i].number == number) {
            at = i;
            break;
        }
    }
    if (s->jobs[at].sessions++ == 0) {
        s->jobs[at] = (struct job){.number = number, .sessions = 1};
        if (s->in_force->job_came)
            s->in_force->job_came(s, at);
    }
    return at;
}

int tally_sched_open_session(struct tally_sched *s, const struct tally_sched_event *event)
{
    struct session *session = &s->sessions[event->session];
    if (session->open || !session_words_ok(event))
        return TALLY_SCHED_INVALID;
    uint32_t job = join_job(s, event->job);
    s->jobs[job].weight = event->weight;
    *session = (struct session){.open = true,
                                .class_ = event->class_,
                                .job = job,
                                .priority = event->priority,
                                .ring = NONE,
                                .next = NONE,
                                .prev = NONE};
    s->turnarounds[event->session] = (struct tally_sched_histogram){0};
    s->sessions_open++;
    return 0;
}

/* Of the session's launches, those that are not fully issued. */
static void each_waiting(struct tally_sched *s, const struct session *session,
                         void (*visit)(struct tally_sched *s, uint32_t launch))
{
    uint32_t ring = session->ring, queue = ring;
    while (queue != NONE) {
        for (uint32_t at = s->queues[queue].cursor; at != NONE; at = s->launches[at].next)
            if (s->launches[at].issued < s->launches[at].blocks)
                visit(s, at);
        queue = s->queues[queue].next == ring ? NONE : s->queues[queue].next;
    }
}

/* A change of class takes the session's waiting launches to the other class's list and its counters
 * to the other class's sums. What it has in flight may then be over the bound: that is allowed to
 * drain. */
static void change_class(struct tally_sched *s, struct session *session, uint32_t class_)
{
    struct class_sums *from = &s->sums[session->class_], *to = &s->sums[class_];
    if (tally_sched_is_idle(session)) {
        session->class_ = class_;
        return;
    }
    each_waiting(s, session, tally_sched_waiting_remove);
    tally_sched_count_busy(s, session->class_, -1);
    tally_sched_count_busy(s, class_, 1);
    uint64_t outstanding = session->outstanding + session->counted;
    from->outstanding -= outstanding;
    from->starts -= session->starts;
    from->charge_ns -= session->charge_ns;
    to->outstanding += outstanding;
    to->starts += session->starts;
    to->charge_ns += session->charge_ns;
    if (session->class_ == TALLY_SCHED_HIGH && from->outstanding == 0)
        tally_sched_high_went(s);
    if (class_ == TALLY_SCHED_HIGH && to->outstanding == outstanding)
        tally_sched_high_came(s);
    session->class_ = class_;
    each_waiting(s, session, tally_sched_waiting_add);
}

int tally_sched_set_session(struct tally_sched *s, const struct tally_sched_event *event)
{
    struct session *session = &s->sessions[event->session];
    if (!session->open || session->closing || !session_words_ok(event))
        return TALLY_SCHED_INVALID;
    s->jobs[session->job].weight = event->weight;
    session->priority = event->priority;
    if (session->class_ != event->class_) {
        change_class(s, session, event->class_);
        tally_sched_forget_arrivals(s);
    }
    return 0;
}

int tally_sched_close_session(struct tally_sched *s, const struct tally_sched_event *event)
{
    struct session *session = &s->sessions[event->session];
    if (!session->open || session->closing)
        return TALLY_SCHED_INVALID;
    tally_sched_uncount(s, event->session, session->counted); /* nobody will tell of its end */
    session->closing = true;
    s->closing++;
    return 0;
}

/* Drops what has not started, stops what can be stopped; false: out of room. */
static bool close_queue(struct tally_sched *s, uint32_t index)
{
    if (!tally_sched_preempt_queue(s, index))
        return false;
    uint32_t at = s->queues[index].head;
    while (at != NONE) {
        uint32_t next = s->launches[at].next;
        if (s->launches[at].starts == 0) {
            if (tally_sched_out_full(s))
                return false;
            tally_sched_fail(s, at);
        }
        at = next;
    }
    return true;
}

bool tally_sched_close_sessions(struct tally_sched *s)
{
    for (uint32_t i = 0; s->closing > 0 && i < s->config.sessions_max; i++) {
        struct session *session = &s->sessions[i];
        if (!session->closing)
            continue;
        uint32_t count = 0, at = session->ring; /* a queue leaves the ring with its last launch */
        for (uint32_t q = at; q != NONE && (count == 0 || q != at); q = s->queues[q].next)
            count++;
        while (count-- > 0) {
            uint32_t next = s->queues[at].next;
            if (!close_queue(s, at))
                return false;
            at = next;
        }
        if (session->outstanding > 0)
            continue;
        if (tally_sched_out_full(s))
            return false;
        tally_sched_emit(s, TALLY_SCHED_CLOSED)->session = i;
        tally_sched_forget_arrivals_of(s, i);
        if (s->in_force->session_gone)
            s->in_force->session_gone(s, i);
        s->jobs[session->job].sessions--;
        session->open = session->closing = false;
        s->sessions_open--;
        s->closing--;
    }
    return true;
}
