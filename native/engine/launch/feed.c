#include "engine/launch/feed.h"

#include <stdio.h>
#include <stdlib.h>

#include "engine/launch/books.h"
#include "engine/launch/control.h"
#include "engine/launch/gate.h"
#include "engine/launch/pending.h"
#include "engine/launch/trace.h"
#include "engine/launch/validate.h"
#include "engine/parts.h"
#include "engine/session/ending.h"
#include "engine/session/session.h"

/* A store, or one call that waits for nothing; under the lock, so that flags go up and down in the
 * order of the core's decisions. */
static void raise_flag(struct pending *pending, uint64_t now_ns)
{
    pending->flag_ns = now_ns;
    control_raise(pending->session, pending->slot);
}

/* A session may end, or fail, before the end of what it has on the device is reported. */
static void trace_over(struct schedule *s, struct pending *pending, bool dropped)
{
    struct tally_trace_record *record = &pending->traced;
    if (dropped) {
        if (!pending->issued)
            return;
        record->flags |= TALLY_TRACE_UNTIMED;
        record->start_ns = record->end_ns = record->device_ns = 0;
    }
    trace_add(&s->engine->trace, record);
}

/* For the session's thread, which waits for its turn, or for ops while a launch that it let go was
 * stopped. */
void give_todo(struct pending *pending, const struct tally_sched_instruction *in)
{
    pending->todo[pending->todo_count++] = *in;
    if (pending->session->books.in_turn)
        pthread_cond_broadcast(&pending->session->books.turn);
    else
        session_call(pending->session);
}

/* Its thread sees that, or, where it has none, its place is free again. */
static void end(struct schedule *s, uint32_t index, bool dropped)
{
    struct pending *pending = &s->pendings[index];
    bool has_thread = pending_has_thread(pending);
    gate_over(pending);
    if (pending->traced.kind)
        trace_over(s, pending, dropped);
    pthread_cond_broadcast(&pending->session->books.turn);
    if (has_thread)
        pending_move(pending, dropped ? PENDING_DROPPED : PENDING_DONE);
    else
        pending_give(s, index);
}

static void carry_out(struct schedule *s, const struct tally_sched_instruction *in, uint64_t now_ns)
{
    struct pending *pending = &s->pendings[in->launch];
    switch (in->type) {
    case TALLY_SCHED_START:
        if (pending->gated)
            gate_open(pending);
        else
            give_todo(pending, in);
        break;
    case TALLY_SCHED_PREEMPT:
        raise_flag(pending, now_ns);
        break;
    case TALLY_SCHED_RESCUE:
        pending->rescue_asked = true;
        if (pending->todo_count < TODO_MAX)
            give_todo(pending, in);
        break;
    case TALLY_SCHED_COMPLETE:
    case TALLY_SCHED_DROPPED:
        end(s, in->launch, in->type == TALLY_SCHED_DROPPED);
        break;
    case TALLY_SCHED_SET_TIMER:
        s->timer_ns = in->time_ns;
        pthread_cond_signal(&s->timer_set);
        break;
    default: /* CLOSED: session_close asks the core itself */
        break;
    }
}

/* In builds for tests: a step that leaves the books wrong ends the process there, not where it is
 * noticed. */
static void check_step(const struct schedule *s)
{
#ifdef TALLY_STEPS
    const char *wrong = schedule_check(s);
    if (wrong) {
        fprintf(stderr, "tally: after a step of the scheduler: %s\n", wrong);
        abort();
    }
#endif
}

int schedule_feed_at(struct schedule *s, const struct tally_sched_event *event, uint64_t now_ns)
{
    struct tally_sched_instruction out[INSTRUCTIONS_MAX];
    static const struct tally_sched_event go_on = {.type = TALLY_SCHED_CONTINUE};
    int count;
    do {
        count = tally_sched_handle(s->core, event, now_ns, out, INSTRUCTIONS_MAX);
        for (int i = 0; i < count; i++)
            carry_out(s, &out[i], now_ns);
        event = &go_on;
    } while (count == (int)INSTRUCTIONS_MAX);
    check_step(s);
    return count < 0 ? count : 0;
}

int schedule_feed(struct schedule *s, const struct tally_sched_event *event)
{
    return schedule_feed_at(s, event, engine_now_ns());
}
