/* The simulator's insides: its queue of events, the device, the clients. */
#ifndef TALLY_SIM_STATE_H
#define TALLY_SIM_STATE_H

#include "sim.h"

#define SIM_NONE UINT32_MAX
#define SIM_ROOM 64u

enum sim_event_type {
    SIM_CLIENT, /* a: client, whose next op is due */
    SIM_SUBMIT, /* a: launch, reaches the scheduler */
    SIM_READY,  /* a: grid, may dispatch */
    SIM_COHORT, /* a: grid, b: blocks that end */
    SIM_FLAG,   /* a: grid, b: its serial; blocks now see the flag */
    SIM_REPORT, /* a: grid; the scheduler learns that it has ended */
    SIM_TIMER,
};

struct sim_event {
    uint64_t time_ns, order; /* equal times: in the order in which they were planned */
    uint32_t type, a, b;
};

/* One start on the device. */
struct sim_grid {
    uint32_t launch, client;
    uint32_t lo, hi, next_block, stopped_at; /* stopped_at: first block that declined */
    uint32_t running, units, serial, level;
    uint32_t stream_next, ready_next;
    bool guarded, stop, skipping;
    uint64_t block_ns, arrive_ns;
    uint32_t spread_permil;
};

struct sim_launch {
    uint32_t client, kernel, grid, next_free; /* grid: its guarded start in flight */
    uint64_t block_ns;
};

struct sim_client {
    struct tally_sim_client given;
    uint32_t op, program, outstanding;
    bool waiting, running; /* waiting: for completions; running: inside a program */
    uint64_t random, next_arrival, begun_ns, arrived_ns;
    uint64_t *service_ns, *response_ns, times_max;
    uint32_t stream_head, stream_tail; /* grids on the device, in order */
    uint32_t units_in_use;
    struct tally_sim_result result;
};

struct sim_list {
    uint32_t head, tail;
};

struct tally_sim {
    struct tally_sim_device device;
    struct tally_sched_config config;
    struct tally_sched *sched;
    const struct tally_sim_kernel *kernels;
    uint32_t kernel_count, client_count;
    struct sim_client *clients;
    struct sim_launch *launches;
    struct sim_grid *grids;
    uint32_t free_launch, free_grid, grid_count;
    struct sim_list ready[TALLY_SIM_LEVELS_MAX];
    uint32_t units_in_use;
    struct sim_event *heap;
    size_t heap_count, heap_max;
    uint64_t now_ns, order, timer_ns, events;
    uint32_t serial;
    bool check;
    const char *wrong;
    struct tally_sched_instruction out[SIM_ROOM];
};

/* sim.c */
void tally_sim_plan(struct tally_sim *sim, uint64_t time_ns, uint32_t type, uint32_t a, uint32_t b);
void tally_sim_tell(struct tally_sim *sim, struct tally_sched_event *event);

/* sim_gpu.c */
void tally_sim_gpu_start(struct tally_sim *sim, const struct tally_sched_instruction *in);
void tally_sim_gpu_preempt(struct tally_sim *sim, uint32_t launch);
void tally_sim_gpu_ready(struct tally_sim *sim, uint32_t grid);
void tally_sim_gpu_cohort(struct tally_sim *sim, uint32_t grid, uint32_t blocks);
void tally_sim_gpu_flag(struct tally_sim *sim, uint32_t grid, uint32_t serial);
void tally_sim_gpu_report(struct tally_sim *sim, uint32_t grid);

/* sim_client.c */
void tally_sim_client_begin(struct tally_sim *sim, uint32_t client);
void tally_sim_client_step(struct tally_sim *sim, uint32_t client);
void tally_sim_client_submit(struct tally_sim *sim, uint32_t launch);
void tally_sim_client_complete(struct tally_sim *sim, uint32_t launch);

#endif
