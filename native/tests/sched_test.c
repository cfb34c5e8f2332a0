/* The scheduler core under random events, its state checked after each; and the checker itself,
 * against states that are broken on purpose. Prints the seed of a run that fails. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "state.h"

enum { SESSIONS = 6, QUEUES = 18, LAUNCHES = 96, ROOM = 8 };

struct flight {
    uint32_t launch, hi;
    bool guarded, stop;
};
struct world {
    struct tally_sched *sched;
    uint64_t random, now_ns, timer_ns, seed;
    bool used[LAUNCHES], open[SESSIONS], closing[SESSIONS];
    uint32_t lo[LAUNCHES], queue[LAUNCHES];
    struct flight stream[QUEUES][LAUNCHES * 4];
    uint32_t flights[QUEUES];
    uint32_t coming; /* launches of high, 0 or 1 */
    uint64_t completed, preemptions, recalls;
};

static uint32_t pick(struct world *w, uint32_t below)
{
    w->random ^= w->random << 13;
    w->random ^= w->random >> 7;
    w->random ^= w->random << 17;
    return (uint32_t)(w->random >> 11) % below;
}

static void fail(const struct world *w, const char *text)
{
    fprintf(stderr, "sched_test: %s (seed %llu)\n", text, (unsigned long long)w->seed);
    exit(1);
}

static void obey(struct world *w, const struct tally_sched_instruction *in)
{
    struct flight *stream = NULL;
    switch (in->type) {
    case TALLY_SCHED_START:
        stream = w->stream[w->queue[in->launch]];
        stream[w->flights[w->queue[in->launch]]++] =
            (struct flight){in->launch, in->hi, in->flags & TALLY_SCHED_START_PREEMPTIBLE, false};
        break;
    case TALLY_SCHED_PREEMPT:
        stream = w->stream[w->queue[in->launch]];
        for (uint32_t i = 0; i < w->flights[w->queue[in->launch]]; i++)
            if (stream[i].launch == in->launch)
                stream[i].stop = true;
        w->preemptions++;
        break;
    case TALLY_SCHED_COMPLETE:
        w->completed++; /* fall through */
    case TALLY_SCHED_DROPPED:
        w->used[in->launch] = false;
        break;
    case TALLY_SCHED_CLOSED:
        w->open[in->session] = w->closing[in->session] = false;
        break;
    case TALLY_SCHED_SET_TIMER:
        w->timer_ns = in->time_ns;
        break;
    default:
        fail(w, "unknown instruction");
    }
}

static int tell(struct world *w, struct tally_sched_event event)
{
    struct tally_sched_instruction out[ROOM];
    for (;;) {
        int count = tally_sched_handle(w->sched, &event, w->now_ns, out, ROOM);
        if (count < 0)
            return count;
        for (int i = 0; i < count; i++)
            obey(w, &out[i]);
        const char *wrong = tally_sched_validate(w->sched);
        if (wrong)
            fail(w, wrong);
        if (count < ROOM)
            return 0;
        event = (struct tally_sched_event){.type = TALLY_SCHED_CONTINUE};
    }
}

static void submit(struct world *w, uint32_t session)
{
    static const uint64_t times[] = {0, 1000, 12000, 29000, 70000};
    uint32_t launch = pick(w, LAUNCHES), queue = session * 3 + pick(w, 3);
    if (w->used[launch])
        return;
    uint64_t time_ns = times[pick(w, 5)];
    struct tally_sched_plan plan = {.kind = pick(w, 3),
                                    .slice_blocks = 1 + pick(w, 9),
                                    .whole_ns = time_ns * 3,
                                    .slice_ns = time_ns + 1,
                                    .stop_ns = time_ns};
    w->used[launch] = true;
    w->lo[launch] = 0;
    w->queue[launch] = queue;
    if (tell(w, (struct tally_sched_event){.type = TALLY_SCHED_LAUNCH,
                                           .session = session,
                                           .queue = queue,
                                           .launch = launch,
                                           .blocks = 1 + pick(w, 30),
                                           .plan = plan}) < 0)
        w->used[launch] = false;
}

/* The oldest start of a stream ends: all of it, or some blocks if it was told to stop. */
static void step_stream(struct world *w, uint32_t queue)
{
    struct flight flight = w->stream[queue][0];
    uint32_t lo = w->lo[flight.launch];
    memmove(w->stream[queue], w->stream[queue] + 1, --w->flights[queue] * sizeof flight);
    bool behind = w->sched->launches[flight.launch].prev != NONE;
    uint32_t ran = !flight.stop ? flight.hi - lo : behind ? 0 : pick(w, flight.hi - lo + 1);
    w->lo[flight.launch] = lo + ran;
    struct tally_sched_event event = {.type = TALLY_SCHED_FINISHED,
                                      .launch = flight.launch,
                                      .lo = lo,
                                      .hi = flight.hi,
                                      .blocks = ran};
    if (lo + ran < flight.hi) {
        event.type = TALLY_SCHED_PREEMPTED;
        event.lo = lo + ran;
    }
    if (tell(w, event) < 0)
        fail(w, "a true report was refused");
}

/* As a session that has died: launch by launch, until none is left. */
static void fail_session(struct world *w, uint32_t session)
{
    uint32_t launch;
    while ((launch = tally_sched_launch_of(w->sched, session)) != UINT32_MAX)
        if (tell(w, (struct tally_sched_event){.type = TALLY_SCHED_FAILED, .launch = launch}) < 0)
            fail(w, "a launch of a session is none");
    if (w->sched->sessions[session].outstanding > 0)
        fail(w, "a launch cannot be found");
    for (uint32_t queue = session * 3; queue < session * 3 + 3; queue++)
        w->flights[queue] = 0;
}

/* High work that is counted begins, or some of it ends. */
static void count_work(struct world *w, uint32_t session)
{
    uint64_t counted = w->sched->sessions[session].counted;
    bool begins = counted == 0 || pick(w, 3) == 0;
    bool takes = w->sched->sessions[session].class_ == TALLY_SCHED_HIGH && !w->closing[session];
    struct tally_sched_event event = {.session = session, .blocks = 1, .started = pick(w, 2)};
    event.type = begins ? TALLY_SCHED_WORK : TALLY_SCHED_WORK_ENDED;
    if (!begins)
        event.blocks = 1 + pick(w, (uint32_t)counted);
    if ((tell(w, event) == 0) != (!begins || takes))
        fail(w, "counted work is not what it should be");
    event = (struct tally_sched_event){.type = TALLY_SCHED_WORK_ENDED, .session = session};
    event.blocks = (uint32_t)w->sched->sessions[session].counted + 1;
    if (tell(w, event) == 0)
        fail(w, "more work ended than there was");
}

/* The owner has not made the last starts of a stream's last launch. */
static void recall(struct world *w, uint32_t queue)
{
    uint32_t *count = &w->flights[queue], kept = *count;
    const struct flight *stream = w->stream[queue];
    uint32_t launch = stream[*count - 1].launch;
    bool guarded = stream[*count - 1].guarded;
    while (kept > 0 && stream[kept - 1].launch == launch)
        kept--;
    struct tally_sched_event event = {
        .type = TALLY_SCHED_RECALLED, .launch = launch, .lo = w->lo[launch]};
    if (!guarded && pick(w, 2) && *count - kept > 1)
        event.lo = stream[kept++].hi;
    uint32_t before = *count;
    if (!guarded)
        *count = kept;
    if ((tell(w, event) == 0) == guarded)
        fail(w, "only a start that is not guarded can be taken back");
    if (!guarded)
        w->recalls += before - kept;
}

/* A launch of high is on its way; or the one that was has come, or not. */
static void expect_high(struct world *w)
{
    struct tally_sched_instruction out[ROOM];
    struct tally_sched_event event = {.type = TALLY_SCHED_CAME, .blocks = w->coming + 1};
    if (tally_sched_handle(w->sched, &event, w->now_ns, out, ROOM) >= 0)
        fail(w, "more of high came than was on its way");
    event.type = w->coming ? TALLY_SCHED_CAME : TALLY_SCHED_COMING;
    event.blocks = 1;
    if (tally_sched_handle(w->sched, &event, w->now_ns, out, ROOM) != 0)
        fail(w, "it decided");
    w->coming = !w->coming;
    if (!w->coming)
        tell(w, (struct tally_sched_event){.type = TALLY_SCHED_CONTINUE});
}

static void step(struct world *w)
{
    uint32_t session = pick(w, SESSIONS), queue = pick(w, QUEUES), what = pick(w, 100);
    w->now_ns += pick(w, 30000);
    if (w->timer_ns <= w->now_ns) {
        w->timer_ns = TALLY_SCHED_NEVER;
        tell(w, (struct tally_sched_event){.type = TALLY_SCHED_TIMER});
    }
    struct tally_sched_event words = {.session = session,
                                      .class_ = pick(w, 4) == 0,
                                      .weight = 1 + pick(w, 3),
                                      .priority = (int32_t)pick(w, 3),
                                      .policy = pick(w, 2) ? 0 : pick(w, 6)};
    if (!w->open[session]) {
        words.type = TALLY_SCHED_SESSION_OPEN;
        words.job = pick(w, 4);
        w->open[session] = tell(w, words) == 0;
    } else if (what < 45) { /* high must be idle at times, or nothing else ever runs */
        if (w->sched->sessions[session].class_ != TALLY_SCHED_HIGH || pick(w, 12) == 0)
            submit(w, session);
    } else if (what < 48) {
        count_work(w, session);
    } else if (what < 50) {
        expect_high(w);
    } else if (what < 53) {
        if (w->flights[queue] > 0)
            recall(w, queue);
    } else if (what < 94) {
        if (w->flights[queue] > 0)
            step_stream(w, queue);
    } else if (what < 96) {
        words.type = TALLY_SCHED_SESSION_SET;
        tell(w, words);
    } else if (what < 98 && !w->closing[session]) {
        words.type = TALLY_SCHED_SESSION_CLOSE;
        w->closing[session] = true;
        tell(w, words);
    } else if (what < 99) {
        if (pick(w, 4) == 0)
            fail_session(w, session);
    } else {
        words.type = TALLY_SCHED_SET_POLICY;
        tell(w, words);
    }
}

static struct world *make(uint64_t seed)
{
    struct world *w = calloc(1, sizeof *w);
    if (!w)
        exit(1);
    struct tally_sched_config config;
    tally_sched_config_default(&config);
    config.sessions_max = SESSIONS;
    config.queues_max = QUEUES;
    config.launches_max = LAUNCHES;
    config.session_launches_max = 24;
    config.limits.preemptible_depth = 1 + seed % 3;
    w->seed = seed;
    w->random = seed * 0x9e3779b97f4a7c15u + 1;
    w->timer_ns = TALLY_SCHED_NEVER;
    w->sched = tally_sched_create(&config);
    if (!w->sched)
        fail(w, "cannot create");
    return w;
}

static void destroy(struct world *w)
{
    tally_sched_destroy(w->sched);
    free(w);
}

static void canary(const char *name, uint32_t kind, void (*damage)(struct tally_sched *s))
{
    struct world *w = make(1);
    struct tally_sched_plan plan = {.kind = kind, .whole_ns = 10000, .stop_ns = 20000};
    tell(w, (struct tally_sched_event){.type = TALLY_SCHED_SESSION_OPEN, .weight = 1});
    for (uint32_t i = 0; i < 3; i++) {
        w->used[i] = true;
        tell(w, (struct tally_sched_event){
                    .type = TALLY_SCHED_LAUNCH, .launch = i, .blocks = 9, .plan = plan});
    }
    damage(w->sched);
    if (!tally_sched_validate(w->sched))
        fail(w, name);
    destroy(w);
}

static void lose_launch(struct tally_sched *s) { s->launches[1].next = NONE; }
static void reorder(struct tally_sched *s) { s->launches[1].sequence = 99; }
static void repeat_blocks(struct tally_sched *s) { s->launches[0].issued = 5; }
static void miscount(struct tally_sched *s) { s->sums[0].starts++; }
static void forget_arrival(struct tally_sched *s)
{
    s->arrivals[s->arrival_count++] = (struct arrival){.starts = 2};
}
static void miscount_work(struct tally_sched *s) { s->sessions[0].counted++; }
static void overcommit(struct tally_sched *s)
{
    s->limits.turnaround_ns_max = s->limits.alone_ns_max = 15000;
}

int main(int argc, char **argv)
{
    uint64_t seeds = argc > 1 ? strtoull(argv[1], NULL, 10) : 20, completed = 0, preemptions = 0,
             recalls = 0;
    canary("a lost launch is not seen", TALLY_SCHED_PREEMPTIBLE, lose_launch);
    canary("a reordered queue is not seen", TALLY_SCHED_PREEMPTIBLE, reorder);
    canary("blocks issued twice are not seen", TALLY_SCHED_PREEMPTIBLE, repeat_blocks);
    canary("a wrong count is not seen", TALLY_SCHED_PREEMPTIBLE, miscount);
    canary("an arrival that waits for nothing is not seen", TALLY_SCHED_WHOLE, forget_arrival);
    canary("work that was not counted is not seen", TALLY_SCHED_WHOLE, miscount_work);
    canary("work over the bound is not seen", TALLY_SCHED_WHOLE, overcommit);
    for (uint64_t seed = 1; seed <= seeds; seed++) {
        struct world *w = make(seed);
        for (int i = 0; i < 20000; i++)
            step(w);
        completed += w->completed;
        preemptions += w->preemptions;
        recalls += w->recalls;
        destroy(w);
    }
    if (completed == 0 || preemptions == 0 || recalls == 0)
        return 1;
    printf("sched_test: %llu launches, %llu preemptions, %llu recalls\n",
           (unsigned long long)completed, (unsigned long long)preemptions,
           (unsigned long long)recalls);
    return 0;
}
