/* The scheduler's lists, all of indices into its arrays: nothing is allocated after create. */
#include "lists.h"

#include "state.h"

/* ---- ring of sessions that have launches waiting -------------------------------------------- */

static void ready_add(struct tally_sched *s, uint32_t index)
{
    struct session *session = &s->sessions[index];
    if (s->ready == NONE) {
        session->next = session->prev = s->ready = index;
        return;
    }
    uint32_t tail = s->sessions[s->ready].prev;
    session->prev = tail;
    session->next = s->ready;
    s->sessions[tail].next = index;
    s->sessions[s->ready].prev = index;
}

static void ready_remove(struct tally_sched *s, uint32_t index)
{
    struct session *session = &s->sessions[index];
    if (s->round == index)
        s->round = session->next == index ? NONE : session->next;
    if (session->next == index) {
        s->ready = NONE;
    } else {
        s->sessions[session->prev].next = session->next;
        s->sessions[session->next].prev = session->prev;
        if (s->ready == index)
            s->ready = session->next;
    }
    session->next = session->prev = NONE;
}

/* ---- launches that are not fully issued, by class, in order of arrival ---------------------- */

void tally_sched_waiting_add(struct tally_sched *s, uint32_t index)
{
    struct launch *launch = &s->launches[index];
    struct session *session = &s->sessions[launch->session];
    struct waiting_list *list = &s->waiting[session->class_];
    uint32_t after = list->tail, before = NONE;
    /* A preempted launch is among the oldest, a new one is the youngest. */
    if (launch->preempted) {
        before = list->head;
        while (before != NONE && s->launches[before].sequence < launch->sequence)
            before = s->launches[before].waiting_next;
        after = before == NONE ? list->tail : s->launches[before].waiting_prev;
    } else {
        while (after != NONE && s->launches[after].sequence > launch->sequence) {
            before = after;
            after = s->launches[after].waiting_prev;
        }
    }
    launch->waiting_next = before;
    launch->waiting_prev = after;
    if (before == NONE)
        list->tail = index;
    else
        s->launches[before].waiting_prev = index;
    if (after == NONE)
        list->head = index;
    else
        s->launches[after].waiting_next = index;
    launch->waiting = true;
    if (session->waiting++ == 0)
        ready_add(s, launch->session);
    s->sums[session->class_].waiting++;
}

void tally_sched_waiting_remove(struct tally_sched *s, uint32_t index)
{
    struct launch *launch = &s->launches[index];
    struct session *session = &s->sessions[launch->session];
    struct waiting_list *list = &s->waiting[session->class_];
    uint32_t next = launch->waiting_next, prev = launch->waiting_prev;
    if (next == NONE)
        list->tail = prev;
    else
        s->launches[next].waiting_prev = prev;
    if (prev == NONE)
        list->head = next;
    else
        s->launches[prev].waiting_next = next;
    launch->waiting = false;
    if (--session->waiting == 0)
        ready_remove(s, launch->session);
    s->sums[session->class_].waiting--;
}

/* ---- guarded starts in flight --------------------------------------------------------------- */

void tally_sched_guarded_add(struct tally_sched *s, uint32_t index)
{
    struct launch *launch = &s->launches[index];
    launch->guarded = true;
    launch->guarded_prev = NONE;
    launch->guarded_next = s->guarded;
    if (s->guarded != NONE)
        s->launches[s->guarded].guarded_prev = index;
    s->guarded = index;
    s->queues[launch->queue].guarded++;
}

void tally_sched_guarded_remove(struct tally_sched *s, uint32_t index)
{
    struct launch *launch = &s->launches[index];
    uint32_t next = launch->guarded_next, prev = launch->guarded_prev;
    if (next != NONE)
        s->launches[next].guarded_prev = prev;
    if (prev == NONE)
        s->guarded = next;
    else
        s->launches[prev].guarded_next = next;
    launch->guarded = false;
    s->queues[launch->queue].guarded--;
    if (launch->preempting)
        s->queues[launch->queue].preempting--;
    launch->preempting = launch->watched = launch->rescued = false;
}

/* ---- queues --------------------------------------------------------------------------------- */

static void ring_add(struct tally_sched *s, uint32_t session_index, uint32_t index)
{
    struct session *session = &s->sessions[session_index];
    struct queue *queue = &s->queues[index];
    queue->session = session_index;
    if (session->ring == NONE) {
        queue->next = queue->prev = session->ring = index;
        return;
    }
    uint32_t tail = s->queues[session->ring].prev;
    queue->prev = tail;
    queue->next = session->ring;
    s->queues[tail].next = index;
    s->queues[session->ring].prev = index;
}

static void ring_remove(struct tally_sched *s, uint32_t index)
{
    struct queue *queue = &s->queues[index];
    struct session *session = &s->sessions[queue->session];
    if (queue->next == index) {
        session->ring = NONE;
    } else {
        s->queues[queue->prev].next = queue->next;
        s->queues[queue->next].prev = queue->prev;
        if (session->ring == index)
            session->ring = queue->next;
    }
    queue->session = NONE;
}

void tally_sched_queue_add(struct tally_sched *s, uint32_t index)
{
    struct launch *launch = &s->launches[index];
    struct queue *queue = &s->queues[launch->queue];
    if (queue->head == NONE)
        ring_add(s, launch->session, launch->queue);
    launch->next = NONE;
    launch->prev = queue->tail;
    if (queue->tail == NONE)
        queue->head = index;
    else
        s->launches[queue->tail].next = index;
    queue->tail = index;
    if (queue->cursor == NONE)
        queue->cursor = index;
}

void tally_sched_queue_remove(struct tally_sched *s, uint32_t index)
{
    struct launch *launch = &s->launches[index];
    struct queue *queue = &s->queues[launch->queue];
    if (launch->next == NONE)
        queue->tail = launch->prev;
    else
        s->launches[launch->next].prev = launch->prev;
    if (launch->prev == NONE)
        queue->head = launch->next;
    else
        s->launches[launch->prev].next = launch->next;
    if (queue->cursor == index)
        tally_sched_queue_rewind(s, launch->queue);
    if (queue->head == NONE)
        ring_remove(s, launch->queue);
}

/* Puts the cursor on the first launch that has blocks to issue, after one was stopped or has gone.
 */
void tally_sched_queue_rewind(struct tally_sched *s, uint32_t index)
{
    uint32_t at = s->queues[index].head;
    while (at != NONE && s->launches[at].issued == s->launches[at].blocks)
        at = s->launches[at].next;
    s->queues[index].cursor = at;
}
