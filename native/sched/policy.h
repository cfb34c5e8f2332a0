/* Policies: what one is, their table (policies.c), and the one in force. */
#ifndef TALLY_SCHED_POLICY_H
#define TALLY_SCHED_POLICY_H

#include "state.h"

/* A policy: when it lets things go. Each is in a file of its own, policy_NAME.c, and a row of the
 * table in policies.c. What it has to remember is its own (s->policy_state); all functions but
 * decide may be NULL. */
struct policy {
    const char *name, *text;
    uint32_t traits; /* enum tally_sched_policy_trait */
    void (*decide)(struct tally_sched *s);
    size_t (*state_bytes)(const struct tally_sched_config *config);
    void (*reset)(struct tally_sched
                      *s); /* it is in force now: its state is all zeros, or another policy's */
    void (*job_came)(struct tally_sched *s,
                     uint32_t job); /* a slot of sched.jobs has a new owner */
    void (*session_gone)(struct tally_sched *s, uint32_t session); /* still in its job */
    const char *(*validate)(
        const struct tally_sched *s); /* NULL, or what is wrong with its state */
};
extern const struct policy *const tally_sched_policies[];

static inline bool tally_sched_policy_is(const struct tally_sched *s, uint32_t trait)
{
    return (s->in_force->traits & trait) != 0;
}

#endif
