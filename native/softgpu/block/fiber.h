/* Stacks to switch between: the warps of a block that wait for one another. */
#ifndef TALLY_SOFTGPU_FIBER_H
#define TALLY_SOFTGPU_FIBER_H

#include <stdbool.h>
#include <stdint.h>

#define SOFT_FIBERS 32u
#define SOFT_FIBER_STACK (512u << 10) /* with its guard page; mapped as it is used */

typedef void (*soft_fiber_fn)(void *argument);

struct soft_fiber {
    void *stack_pointer; /* while it does not run */
    void *fake_stack;    /* AddressSanitizer's */
    uint8_t *stack;      /* lowest usable byte */
    uint64_t stack_bytes;
};

struct soft_fibers {
    uint8_t *mapping;
    struct soft_fiber home;    /* the thread's own stack */
    uint64_t home_guard_bytes; /* below it */
    struct soft_fiber fibers[SOFT_FIBERS];
};

bool soft_fibers_create(struct soft_fibers *fibers); /* by the thread that will use them */
void soft_fibers_destroy(struct soft_fibers *fibers);
/* Whether it lies in a guard page of these stacks: what touched it had used up its own. */
bool soft_fibers_guards(const struct soft_fibers *fibers, const void *address);
/* Ready to run fn(argument) from its start; what ran on it before is forgotten. fn must not return.
 */
void soft_fiber_prepare(struct soft_fibers *fibers, uint32_t index, soft_fiber_fn fn,
                        void *argument);
/* First thing on a new fiber. */
void soft_fiber_begin(struct soft_fibers *fibers, uint32_t index);
void soft_fiber_enter(struct soft_fibers *fibers, uint32_t index); /* from home */
/* To home; returns when entered again. */
void soft_fiber_back(struct soft_fibers *fibers, uint32_t index);
void soft_fiber_end(struct soft_fibers *fibers, uint32_t index); /* to home for good */
/* Before and after a jump from a fiber straight home. */
void soft_fiber_leave(struct soft_fibers *fibers);
void soft_fiber_jumped(struct soft_fibers *fibers);

#endif
