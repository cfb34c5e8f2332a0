/* Checks every invariant of the state by walking all of it. */
#include <stdlib.h>

#include "gaps.h"
#include "launches.h"
#include "policy.h"
#include "state.h"

#define CHECK(condition, text)                                                                     \
    do {                                                                                           \
        if (!(condition))                                                                          \
            return text;                                                                           \
    } while (0)

struct tally { /* what the walk counts, to hold against the counters */
    struct class_sums sums[2];
    uint32_t guarded, waiting[2], closing;
    uint64_t counted;
};

static const char *check_launch(const struct tally_sched *s, uint32_t index)
{
    const struct launch *launch = &s->launches[index];
    CHECK(launch->used, "a queue holds a launch that is not in use");
    CHECK(launch->lo <= launch->done && launch->done <= launch->blocks,
          "blocks done are out of range");
    CHECK(launch->lo <= launch->issued && launch->issued <= launch->blocks,
          "blocks issued are out of range");
    CHECK(launch->done < launch->blocks, "a launch whose blocks have all run is still here");
    CHECK(launch->waiting == (launch->issued < launch->blocks),
          "waiting does not say what issued says");
    CHECK(launch->starts <= SLICES_MAX, "too many starts in flight");
    CHECK(launch->starts > 0 || launch->charge_ns == 0, "charge without a start");
    CHECK(launch->starts > 0 || launch->issued == launch->lo,
          "blocks issued that are neither done nor in flight");
    CHECK(launch->preempted || launch->lo == launch->done,
          "blocks out of order without a preemption");
    uint32_t lo = launch->lo;
    for (uint32_t i = 0; i < launch->starts; i++) {
        CHECK(launch->ends[i] > lo, "starts overlap or are empty");
        lo = launch->ends[i];
    }
    CHECK(launch->starts == 0 || lo == launch->issued,
          "starts in flight do not add up to what is issued");
    CHECK(!launch->guarded || launch->starts == 1, "a guarded start is not alone");
    CHECK(!launch->preempting || launch->guarded, "told to stop, but not guarded");
    CHECK(launch->preempting || !(launch->watched || launch->rescued),
          "watched, but not told to stop");
    CHECK(!launch->rescued || launch->prev == NONE, "rescued while another one is ahead of it");
    CHECK(!launch->watched || launch->stopping_ns <= s->clear_ns, "told to stop in the future");
    return NULL;
}

static const char *check_queue(const struct tally_sched *s, uint32_t index, struct session *count)
{
    const struct queue *queue = &s->queues[index];
    uint32_t starts = 0, guarded = 0, preempting = 0, prev = NONE;
    uint64_t largest = 0, unguarded = 0;
    bool before = true, behind_unstarted = false, behind_guarded = false;
    CHECK(queue->head != NONE, "an empty queue is in its session's ring");
    for (uint32_t at = queue->head; at != NONE; at = s->launches[at].next) {
        const struct launch *launch = &s->launches[at];
        if (at == queue->cursor)
            before = false;
        const char *wrong = check_launch(s, at);
        if (wrong)
            return wrong;
        CHECK(!(before && launch->waiting) && !(at == queue->cursor && !launch->waiting),
              "the cursor is not on the first launch with blocks to issue");
        CHECK(launch->prev == prev, "a queue's links do not match");
        CHECK(prev == NONE || s->launches[prev].sequence < launch->sequence,
              "a queue is out of order");
        CHECK(launch->queue == index && launch->session == queue->session,
              "a launch is in the wrong queue");
        /* Program order on the device: behind what has not started, or may be stopped, nothing runs
         * that the same flag would not stop. */
        CHECK(launch->starts == 0 || !behind_unstarted || queue->preempting > 0,
              "a launch overtook one that has not started");
        CHECK(launch->starts == 0 || !behind_guarded || launch->guarded,
              "an unguarded launch is behind a guarded one");
        if (launch->starts == 0 || launch->issued < launch->blocks)
            behind_unstarted = true;
        if (launch->guarded)
            behind_guarded = true;
        starts += launch->starts;
        guarded += launch->guarded;
        preempting += launch->preempting;
        if (launch->guarded && launch->charge_ns > largest)
            largest = launch->charge_ns;
        if (!launch->guarded)
            unguarded += launch->charge_ns;
        count->outstanding++;
        count->waiting += launch->waiting;
        prev = at;
    }
    CHECK(queue->tail == prev, "a queue's tail is wrong");
    CHECK(!before || queue->cursor == NONE, "a queue's cursor is not in it");
    CHECK(queue->starts == starts && queue->guarded == guarded && queue->preempting == preempting,
          "a queue's counters are wrong");
    CHECK(preempting == 0 || preempting == guarded || tally_sched_out_full(s),
          "some of a queue's guarded starts were told to stop and others not");
    if (unguarded > largest)
        largest = unguarded;
    CHECK(queue->charge_ns == largest && queue->unguarded_ns == unguarded,
          "a queue's charge is wrong");
    count->starts += starts;
    count->charge_ns += largest;
    return NULL;
}

static const char *check_session(const struct tally_sched *s, uint32_t index, struct tally *tally)
{
    const struct session *session = &s->sessions[index];
    struct session count = {0};
    if (session->ring != NONE) {
        uint32_t at = session->ring;
        do {
            CHECK(s->queues[at].session == index, "a session's ring holds another's queue");
            CHECK(s->queues[s->queues[at].next].prev == at, "a session's ring is broken");
            const char *wrong = check_queue(s, at, &count);
            if (wrong)
                return wrong;
            tally->guarded += s->queues[at].guarded;
            at = s->queues[at].next;
        } while (at != session->ring);
    }
    CHECK(session->outstanding == count.outstanding && session->waiting == count.waiting &&
              session->starts == count.starts && session->charge_ns == count.charge_ns,
          "a session's counters are wrong");
    CHECK(session->outstanding <= s->config.session_launches_max,
          "a session has more than its share");
    CHECK((session->waiting > 0) == (session->next != NONE),
          "the ready ring does not match who waits");
    struct class_sums *sums = &tally->sums[session->class_];
    CHECK(!session->closing || session->counted == 0, "a closing session has counted work");
    sums->busy += count.outstanding > 0 || session->counted > 0;
    sums->outstanding += count.outstanding + session->counted;
    tally->counted += session->counted;
    sums->waiting += count.waiting;
    sums->starts += count.starts;
    sums->charge_ns += count.charge_ns;
    tally->closing += session->closing;
    return NULL;
}

static const char *check_jobs(const struct tally_sched *s)
{
    uint32_t open = 0, sessions = 0;
    for (uint32_t i = 0; i < s->config.sessions_max; i++) {
        const struct session *session = &s->sessions[i];
        const struct job *job = &s->jobs[i];
        sessions += job->sessions;
        if (!session->open)
            continue;
        open++;
        CHECK(s->jobs[session->job].sessions > 0, "a session's job is gone");
    }
    CHECK(sessions == open && open == s->sessions_open, "jobs and sessions do not add up");
    return NULL;
}

static const char *check_waiting(const struct tally_sched *s, uint32_t class_, uint32_t expected)
{
    uint32_t count = 0, prev = NONE;
    for (uint32_t at = s->waiting[class_].head; at != NONE; at = s->launches[at].waiting_next) {
        const struct launch *launch = &s->launches[at];
        CHECK(launch->used && launch->waiting && s->sessions[launch->session].class_ == class_,
              "the waiting list holds what does not wait");
        CHECK(launch->waiting_prev == prev, "the waiting list is broken");
        CHECK(prev == NONE || s->launches[prev].sequence < launch->sequence,
              "the waiting list is out of order");
        prev = at;
        count++;
    }
    CHECK(s->waiting[class_].tail == prev && count == expected, "the waiting list is incomplete");
    return NULL;
}

static const char *check_bound(const struct tally_sched *s)
{
    const struct class_sums *best_effort = &s->sums[TALLY_SCHED_BEST_EFFORT];
    if (!tally_sched_policy_is(s, TALLY_SCHED_BOUNDED))
        return NULL;
    uint64_t bound = tally_sched_bound(s);
    if (s->allowance_ns > bound)
        bound = s->allowance_ns;
    /* What may be over the bound: one launch; or those of one queue, which run one after the
     * other: guarded ones behind unguarded ones under the bound, the oldest of which may have
     * run in part. */
    bool one_queue = false;
    for (uint32_t i = 0; i < s->config.queues_max && best_effort->starts > 0; i++) {
        const struct queue *queue = &s->queues[i];
        if (queue->starts != best_effort->starts ||
            s->sessions[queue->session].class_ == TALLY_SCHED_HIGH)
            continue;
        const struct launch *oldest = &s->launches[queue->head];
        uint64_t ran =
            oldest->guarded || oldest->starts == 0 ? 0 : oldest->charge_ns / oldest->starts;
        one_queue = queue->guarded == queue->starts || queue->unguarded_ns - ran <= bound;
    }
    CHECK(best_effort->charge_ns <= bound || best_effort->starts == 1 || one_queue,
          "best-effort work in flight is over the turnaround bound");
    return NULL;
}

static const char *check_arrivals(const struct tally_sched *s)
{
    for (uint32_t i = 0; i < s->arrival_count; i++) {
        const struct arrival *arrival = &s->arrivals[i];
        uint32_t met = 0;
        for (uint32_t l = 0; l < s->config.launches_max; l++) {
            const struct launch *launch = &s->launches[l];
            if (!launch->used || s->sessions[launch->session].class_ != TALLY_SCHED_BEST_EFFORT)
                continue;
            for (uint32_t j = 0; j < launch->starts; j++)
                met += launch->numbers[j] < arrival->number;
        }
        CHECK(arrival->starts == met && met > 0,
              "an arrival waits for starts that are not in flight");
    }
    return NULL;
}

static const char *check_gaps(const struct tally_sched *s)
{
    const struct gaps *gaps = &s->gaps;
    uint32_t count = 0;
    bool busy = s->sums[TALLY_SCHED_HIGH].outstanding > 0;
    for (uint32_t i = 0; i < GAP_BUCKETS; i++)
        count += gaps->counts[i];
    CHECK(gaps->count == count && count <= gaps->number, "the count of high's gaps is wrong");
    CHECK(s->high_idle_ns <= s->now_ns && gaps->busy_since_ns <= s->now_ns &&
              gaps->busy_ns <= s->now_ns,
          "high was idle or busy before its time");
    CHECK(busy ? s->high_idle_ns <= gaps->busy_since_ns : gaps->busy_since_ns <= s->high_idle_ns,
          "high has come or gone unnoticed");
    if (busy || gaps->bound_ns != tally_sched_bound(s))
        return NULL;
    CHECK(gaps->wait_ns == tally_sched_weigh_gap(s, gaps->bound_ns),
          "the wait in this gap is out of date");
    CHECK(gaps->wait_ns <= tally_sched_longest_wait(s), "best-effort work waits for too long");
    return NULL;
}

/* Where best-effort work waits only for high's gap to last, a timer is armed. */
static const char *check_waits(const struct tally_sched *s)
{
    if (!tally_sched_policy_is(s, TALLY_SCHED_GIVES_WAY) ||
        s->sums[TALLY_SCHED_HIGH].outstanding > 0 || s->sums[TALLY_SCHED_BEST_EFFORT].starts > 0 ||
        s->sums[TALLY_SCHED_BEST_EFFORT].waiting == 0 || s->closing > 0 || s->coming > 0 ||
        tally_sched_out_full(s))
        return NULL;
    CHECK(s->timer_ns <= s->high_idle_ns + tally_sched_longest_wait(s),
          "best-effort work is held back for longer than the longest wait");
    return NULL;
}

const char *tally_sched_validate(const struct tally_sched *s)
{
    struct tally tally = {0};
    const char *wrong = NULL;
    uint32_t used = 0;
    for (uint32_t i = 0; i < s->config.sessions_max && !wrong; i++)
        if (s->sessions[i].open)
            wrong = check_session(s, i, &tally);
    if (wrong)
        return wrong;
    for (uint32_t class_ = 0; class_ < 2; class_++) {
        const struct class_sums *a = &s->sums[class_], *b = &tally.sums[class_];
        CHECK(a->busy == b->busy && a->outstanding == b->outstanding && a->waiting == b->waiting &&
                  a->starts == b->starts && a->charge_ns == b->charge_ns,
              "a class's sums are wrong");
        if ((wrong = check_waiting(s, class_, b->waiting)))
            return wrong;
    }
    for (uint32_t i = 0; i < s->config.launches_max; i++)
        used += s->launches[i].used;
    CHECK(used + tally.counted == tally.sums[0].outstanding + tally.sums[1].outstanding,
          "a launch is in use but in no queue");
    uint32_t guarded = 0;
    for (uint32_t at = s->guarded; at != NONE; at = s->launches[at].guarded_next) {
        CHECK(s->launches[at].guarded, "the list of guarded starts holds one that is not");
        guarded++;
    }
    CHECK(guarded == tally.guarded, "the list of guarded starts is incomplete");
    CHECK(s->closing == tally.closing, "the count of closing sessions is wrong");
    if ((wrong = check_jobs(s)) || (wrong = check_arrivals(s)) || (wrong = check_gaps(s)) ||
        (wrong = check_waits(s)))
        return wrong;
    CHECK(s->floor.credit_ns <= (int64_t)s->limits.quantum_ns ||
              s->limits.best_effort_permil_min == 0,
          "best-effort work has saved up more than a quantum");
    bool decided = tally_sched_high_at_once(s) && !tally_sched_out_full(s);
    for (uint32_t at = s->waiting[TALLY_SCHED_HIGH].head; decided && at != NONE;
         at = s->launches[at].waiting_next)
        CHECK(s->queues[s->launches[at].queue].cursor != at ||
                  !tally_sched_startable(s, &s->queues[s->launches[at].queue], FORM_WHOLE),
              "a high launch waits on a decision");
    if (s->in_force->validate && (wrong = s->in_force->validate(s)))
        return wrong;
    return check_bound(s);
}
