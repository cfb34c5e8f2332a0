/* A launch in the scheduler's books, and what may become of it. Everything here is under
 * schedule.lock. */
#ifndef TALLY_ENGINE_PENDING_H
#define TALLY_ENGINE_PENDING_H

#include <stdbool.h>
#include <stdint.h>

#include "engine/engine.h"
#include "tally/cuda.h"
#include "tally/rates.h"
#include "tally/sched.h"

#define TODO_MAX 4u /* starts of one launch that the core lets be in flight, and some */

struct session;

/*
 *  FREE -> TAKEN --> SUBMITTED --> ISSUING --> DETACHED --+--> DONE, DROPPED -> FREE
 *             |          |  |         |  `----------------+
 *             |          |  `---------|-------------------+
 *             `----------`----------> IN_FLIGHT -> FREE
 */
enum pending_state {
    PENDING_FREE,
    PENDING_TAKEN,     /* it has its place; the core has not been told of it */
    PENDING_SUBMITTED, /* the core knows it; its thread, or its gate, waits for the first start */
    PENDING_ISSUING,   /* a part is with the device, its thread has more to bring */
    PENDING_DETACHED,  /* all of it is, and it may be stopped and started again (open.c) */
    PENDING_IN_FLIGHT, /* nobody waits for it: it is freed when it is over */
    PENDING_DONE,      /* it has all been run, which its thread has not seen yet */
    PENDING_DROPPED,   /* it will not run, which its thread has not seen yet */
};
#define PENDING_STATES 8u

struct pending {
    struct session *session;
    uint32_t next_free;
    uint32_t serial; /* of the launch that has this place now */
    enum pending_state state;
    uint32_t blocks;
    uint64_t signature;
    uint32_t slot;     /* its control block, if it may go through the guard */
    uint32_t issued;   /* starts of it that went to the device, and gates that were opened for it */
    CUresult error;    /* of a start that the device gave up */
    bool rescue_asked; /* its session thread is to carry a rescue out (rescue.c) */
    uint32_t rescue_parts; /* of a rescue: its own and the rescued start, which have not ended */
    uint32_t rescue_ran, rescue_lo; /* blocks that they ran; where the rescued one began */
    uint32_t reported;              /* blocks that earlier, preempted starts ran */
    bool gated;                     /* it is behind a gate, with the device (gate.c) */
    uint32_t gate, queue;           /* the gate's number and its stream's */
    uint64_t opened_ns;             /* when its gate was opened */
    uint64_t bytes;                 /* of a transfer; 0: it is a kernel's launch */
    enum tally_transfer_kind transfer;
    uint64_t flag_ns; /* when its flag was raised; 0: it is down */
    uint32_t todo_count;
    /* From here on a fresh record is not cleared: two thirds of it, in every launch. */
    struct tally_trace_record traced; /* its starts so far; kind 0: nobody recorded when it came */
    struct tally_sched_instruction todo[TODO_MAX];
};

/* False: there is no such transition. It is made all the same, and validate.c tells of the first
 * one. */
bool pending_move(struct pending *pending, enum pending_state to);
bool pending_may_move(enum pending_state from, enum pending_state to);
/* The first transition that should not have been; NULL: there was none. */
const char *pending_wrong(void);

/* NULL, or what in the record contradicts its state. */
const char *pending_validate(const struct pending *pending);

/* It has been run, or will not run. */
static inline bool pending_is_over(const struct pending *pending)
{
    return pending->state == PENDING_DONE || pending->state == PENDING_DROPPED;
}

/* The core knows it, and waits for it. */
static inline bool pending_is_live(const struct pending *pending)
{
    return pending->state >= PENDING_SUBMITTED && pending->state <= PENDING_IN_FLIGHT;
}

/* Its session's thread will look at it again, and frees it. */
static inline bool pending_has_thread(const struct pending *pending)
{
    return pending_is_live(pending) && pending->state != PENDING_IN_FLIGHT && !pending->gated;
}

#endif
