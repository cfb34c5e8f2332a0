/* The configuration: what it is by default, and which limits make sense. */
#include "config.h"

#include "state.h"

void tally_sched_config_default(struct tally_sched_config *config)
{
    *config = (struct tally_sched_config){.sessions_max = 256,
                                          .queues_max = 4096,
                                          .launches_max = 16384,
                                          .session_launches_max = 1024,
                                          .levels = 2,
                                          .policy = 0,
                                          .limits = {.turnaround_ns_max = 31600,
                                                     .alone_ns_max = 50000000,
                                                     .hysteresis_ns = 50000,
                                                     .gap_wait_ns_max = 1000000,
                                                     .stops_permil_max = 20,
                                                     .quantum_ns = 2000000,
                                                     .timeslice_ns = 2000000,
                                                     .preemptible_depth = 2,
                                                     .best_effort_permil_min = 0,
                                                     .watchdog_times = 50,
                                                     .watchdog_ns_min = 1000000000}};
}

bool tally_sched_limits_ok(const struct tally_sched_limits *limits)
{
    const uint64_t top = UINT64_C(1) << 50; /* 13 days: sums of these never overflow */
    return limits->turnaround_ns_max > 0 && limits->turnaround_ns_max < top &&
           limits->alone_ns_max < top && limits->hysteresis_ns < top &&
           limits->gap_wait_ns_max < top && limits->quantum_ns > 0 &&
           limits->quantum_ns < top / WEIGHT_MAX && limits->timeslice_ns > 0 &&
           limits->timeslice_ns < top && limits->preemptible_depth > 0 &&
           limits->stops_permil_max <= 1000 && limits->best_effort_permil_min <= 1000 &&
           limits->watchdog_ns_min < top;
}
