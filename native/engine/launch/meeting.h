/* Kernels that wait for kernels of other sessions, as NCCL's do: known by their names, which the
 * setting waiting_kernels has patterns of. Held back, each would wait for another one for ever. So
 * they take no turn: once what is ahead of them in their own session has been run they go to the
 * device, whole, whatever the policy, beside whoever has the turn, and are not charged for. */
#ifndef TALLY_ENGINE_MEETING_H
#define TALLY_ENGINE_MEETING_H

#include <stdbool.h>

/* Whether the name fits one of the patterns (fnmatch), which commas separate. NULL: none. */
bool meeting_kernel(const char *patterns, const char *name);

#endif
