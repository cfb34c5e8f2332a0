/* The table of policies: to add one, write its decide function and give it a line here. */
#include <stddef.h>

#include "state.h"

const struct policy tally_sched_policies[] = {
    {"tally", "high goes at once; best-effort fills the gaps and stops within the turnaround bound",
     true, true, true, tally_sched_decide_tally},
    {"kernel", "like tally, but best-effort kernels run whole: they give way at kernel boundaries only",
     true, false, false, tally_sched_decide_kernel},
    {"timeslice", "every session in turn has the whole device for a fixed time", false, false, false,
     tally_sched_decide_timeslice},
    {"priority", "no scheduling: everything goes at once, high on a high-priority stream", true, true, false,
     tally_sched_decide_fifo},
    {"fifo", "no scheduling: everything goes at once, at one priority", true, false, false,
     tally_sched_decide_fifo},
};

uint32_t tally_sched_policy_count(void) {
    return (uint32_t)(sizeof tally_sched_policies / sizeof *tally_sched_policies);
}

const char *tally_sched_policy_name(uint32_t policy) {
    return policy < tally_sched_policy_count() ? tally_sched_policies[policy].name : NULL;
}

const char *tally_sched_policy_text(uint32_t policy) {
    return policy < tally_sched_policy_count() ? tally_sched_policies[policy].text : NULL;
}
