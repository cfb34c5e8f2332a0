/* Policy `timeslice`: sessions take turns with the whole device, whatever their class, as a driver does
 * that knows nothing of them. A turn ends early when its session has nothing to run. */
#include "state.h"

static void begin_turn(struct tally_sched *s) {
    s->turn = s->round != NONE ? s->round : s->ready;
    s->turn_ns = s->now_ns;
    s->turn_ending = false;
    if (s->turn != NONE) s->round = s->sessions[s->turn].next;
}

static bool others_wait(const struct tally_sched *s) {
    if (s->ready == NONE) return false;
    const struct session *first = &s->sessions[s->ready];
    return s->ready != s->turn || first->next != s->ready;
}

static bool stop_turn(struct tally_sched *s) {
    for (uint32_t at = s->flagged; at != NONE; at = s->launches[at].flagged_next) {
        if (s->launches[at].preempting) continue;
        if (tally_sched_out_full(s)) return false;
        tally_sched_preempt(s, at);
    }
    return true;
}

/* Starts what fits into the rest of the turn, and at least one launch. */
static void fill_turn(struct tally_sched *s, uint64_t left_ns) {
    struct session *session = &s->sessions[s->turn];
    for (;;) {
        uint32_t index = tally_sched_next_of(s, session, FORM_PLAN);
        if (index == NONE || tally_sched_out_full(s)) return;
        uint64_t charge = tally_sched_charge_of(s, &s->launches[index], FORM_PLAN);
        if (session->starts > 0 && session->charge_ns + charge > left_ns) return;
        tally_sched_start(s, index, FORM_PLAN, 0);
    }
}

void tally_sched_decide_timeslice(struct tally_sched *s) {
    uint32_t in_flight = s->sums[0].starts + s->sums[1].starts;
    if (s->turn != NONE && s->sessions[s->turn].outstanding == 0) s->turn = NONE;
    if (s->turn == NONE || (s->turn_ending && s->sessions[s->turn].starts == 0)) {
        /* Also after a change of policy: what others have in flight drains first. */
        if (in_flight > 0) return;
        begin_turn(s);
        if (s->turn == NONE) return;
    }
    bool others = others_wait(s);
    uint64_t end = s->turn_ns + s->limits.timeslice_ns;
    if (others && s->now_ns >= end) s->turn_ending = true;
    if (s->turn_ending) {
        if (!others) {
            s->turn_ending = false;
            s->turn_ns = s->now_ns;
        } else {
            stop_turn(s);
            if (s->sessions[s->turn].starts > 0) {
                uint32_t launch = tally_sched_beside_of(s, s->turn, FORM_PLAN);
                if (launch != NONE && !tally_sched_out_full(s)) tally_sched_start_beside(s, launch, FORM_PLAN);
                return;
            }
            begin_turn(s);
            end = s->turn_ns + s->limits.timeslice_ns;
        }
    }
    fill_turn(s, others && end > s->now_ns ? end - s->now_ns : s->limits.timeslice_ns);
    if (others_wait(s)) tally_sched_wish(s, end);
}
