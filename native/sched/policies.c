/* The table of policies. To add one, define it in policy_NAME.c as tally_sched_policy_NAME, and
 * give it a row. */
#include "policy.h"

#include <stddef.h>

#include "state.h"

#define POLICIES(ROW) ROW(tally) ROW(kernel) ROW(timeslice) ROW(priority) ROW(fifo)

#define DECLARE(name) extern const struct policy tally_sched_policy_##name;
POLICIES(DECLARE)

#define ADDRESS(name) &tally_sched_policy_##name,
const struct policy *const tally_sched_policies[] = {POLICIES(ADDRESS)};

uint32_t tally_sched_policy_count(void)
{
    return (uint32_t)(sizeof tally_sched_policies / sizeof *tally_sched_policies);
}

const char *tally_sched_policy_name(uint32_t policy)
{
    return policy < tally_sched_policy_count() ? tally_sched_policies[policy]->name : NULL;
}

const char *tally_sched_policy_text(uint32_t policy)
{
    return policy < tally_sched_policy_count() ? tally_sched_policies[policy]->text : NULL;
}

uint32_t tally_sched_policy_traits(uint32_t policy)
{
    return policy < tally_sched_policy_count() ? tally_sched_policies[policy]->traits : 0;
}
