/* How workers leave the CPUs to the programs that use the GPU which they play. */
#ifndef TALLY_SOFTGPU_BACKGROUND_H
#define TALLY_SOFTGPU_BACKGROUND_H

#include <stdbool.h>
#include <sys/types.h>

/* A real GPU takes no CPU from the programs that use it: a service beside a trainer must not wait
 * for its own thread because SMs occupy the CPUs. On Linux niceness is the calling thread's. */
void soft_give_way_to_programs(void);

/* Whether a worker that becomes idle in the kernel's sense can come back: that takes a right. */
bool soft_background_possible(void);

/* The thread becomes idle in the kernel's sense, or ordinary again; false: it stays what it was. */
bool soft_set_background(pid_t thread, bool background);

#endif
