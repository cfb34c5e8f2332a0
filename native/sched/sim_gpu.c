/* The virtual GPU: in-order dispatch of blocks onto execution units, higher levels first. */
#include "sim_state.h"

static void push_ready(struct tally_sim *sim, uint32_t index)
{
    struct sim_grid *grid = &sim->grids[index];
    struct sim_list *list = &sim->ready[grid->level];
    grid->ready_next = SIM_NONE;
    if (list->tail == SIM_NONE)
        list->head = index;
    else
        sim->grids[list->tail].ready_next = index;
    list->tail = index;
}

static void pop_ready(struct tally_sim *sim, uint32_t level)
{
    struct sim_list *list = &sim->ready[level];
    list->head = sim->grids[list->head].ready_next;
    if (list->head == SIM_NONE)
        list->tail = SIM_NONE;
}

static void run_cohort(struct tally_sim *sim, uint32_t index, uint32_t blocks, uint64_t duration_ns)
{
    struct sim_grid *grid = &sim->grids[index];
    grid->running += blocks;
    grid->next_block += blocks;
    sim->units_in_use += blocks * grid->units;
    sim->clients[grid->client].units_in_use += blocks * grid->units;
    tally_sim_plan(sim, sim->now_ns + duration_ns, SIM_COHORT, index, blocks);
}

/* Blocks share caches and memory bandwidth with whatever else is on the device as they begin. */
static uint64_t slowed(const struct tally_sim *sim, const struct sim_grid *grid)
{
    uint64_t others = sim->units_in_use - sim->clients[grid->client].units_in_use;
    uint64_t extra =
        grid->block_ns * sim->device.contention_permil / 1000 * others / sim->device.units;
    return grid->block_ns + extra + (grid->guarded ? sim->device.guard_ns : 0);
}

static void dispatch_blocks(struct tally_sim *sim, uint32_t index, uint32_t blocks)
{
    struct sim_grid *grid = &sim->grids[index];
    if (grid->stop) {
        if (!grid->skipping) {
            grid->skipping = true;
            grid->stopped_at = grid->next_block;
        }
        run_cohort(sim, index, blocks, sim->device.skip_ns);
        return;
    }
    uint64_t duration_ns = slowed(sim, grid);
    /* The first wave comes apart, and the later ones follow it apart. */
    if (grid->spread_permil > 0 && grid->next_block == grid->lo && blocks > 1) {
        uint64_t apart = duration_ns * grid->spread_permil / 2000;
        run_cohort(sim, index, blocks / 2, duration_ns - apart);
        run_cohort(sim, index, blocks - blocks / 2, duration_ns + apart);
        return;
    }
    run_cohort(sim, index, blocks, duration_ns);
}

static void dispatch(struct tally_sim *sim)
{
    for (uint32_t level = sim->config.levels; level-- > 0;) {
        while (sim->ready[level].head != SIM_NONE) {
            uint32_t index = sim->ready[level].head;
            struct sim_grid *grid = &sim->grids[index];
            uint32_t room = (sim->device.units - sim->units_in_use) / grid->units;
            uint32_t left = grid->hi - grid->next_block;
            if (room == 0)
                return; /* nothing goes ahead of what is next in order */
            dispatch_blocks(sim, index, left < room ? left : room);
            if (grid->next_block == grid->hi) {
                pop_ready(sim, level);
            } else if (sim->device.interleave) { /* the next room goes to the next stream */
                pop_ready(sim, level);
                push_ready(sim, index);
            }
        }
    }
}

void tally_sim_gpu_ready(struct tally_sim *sim, uint32_t index)
{
    push_ready(sim, index);
    dispatch(sim);
}

static void make_ready(struct tally_sim *sim, uint32_t index, uint64_t time_ns)
{
    tally_sim_plan(sim, time_ns, SIM_READY, index, 0);
}

void tally_sim_gpu_start(struct tally_sim *sim, const struct tally_sched_instruction *in)
{
    const struct sim_launch *launch = &sim->launches[in->launch];
    const struct tally_sim_kernel *kernel = &sim->kernels[launch->kernel];
    struct sim_client *client = &sim->clients[launch->client];
    uint32_t index = sim->free_grid;
    if (index == SIM_NONE) {
        sim->wrong = "more starts in flight than there can be";
        return;
    }
    struct sim_grid *grid = &sim->grids[index];
    sim->free_grid = grid->stream_next;
    *grid = (struct sim_grid){.launch = in->launch,
                              .client = launch->client,
                              .lo = in->lo,
                              .hi = in->hi,
                              .next_block = in->lo,
                              .units = kernel->units,
                              .serial = sim->serial++,
                              .level = in->level,
                              .stream_next = SIM_NONE,
                              .block_ns = launch->block_ns,
                              .guarded = in->flags & TALLY_SCHED_START_PREEMPTIBLE,
                              .arrive_ns = sim->now_ns + sim->device.launch_ns,
                              .spread_permil = kernel->spread_permil};
    if (grid->guarded)
        sim->launches[in->launch].grid = index;
    if (client->stream_tail == SIM_NONE) {
        client->stream_head = index;
        make_ready(sim, index, grid->arrive_ns);
    } else {
        sim->grids[client->stream_tail].stream_next = index;
    }
    client->stream_tail = index;
}

void tally_sim_gpu_preempt(struct tally_sim *sim, uint32_t launch)
{
    uint32_t index = sim->launches[launch].grid;
    tally_sim_plan(sim, sim->now_ns + sim->device.flag_ns, SIM_FLAG, index,
                   sim->grids[index].serial);
}

void tally_sim_gpu_flag(struct tally_sim *sim, uint32_t index, uint32_t serial)
{
    if (sim->grids[index].serial == serial)
        sim->grids[index].stop = true;
}

void tally_sim_gpu_cohort(struct tally_sim *sim, uint32_t index, uint32_t blocks)
{
    struct sim_grid *grid = &sim->grids[index];
    struct sim_client *client = &sim->clients[grid->client];
    grid->running -= blocks;
    sim->units_in_use -= blocks * grid->units;
    client->units_in_use -= blocks * grid->units;
    if (grid->running == 0 && grid->next_block == grid->hi) {
        tally_sim_plan(sim, sim->now_ns + sim->device.completion_ns, SIM_REPORT, index, 0);
        client->stream_head = grid->stream_next;
        if (client->stream_head == SIM_NONE) {
            client->stream_tail = SIM_NONE;
        } else {
            uint64_t arrive_ns = sim->grids[client->stream_head].arrive_ns,
                     next_ns = sim->now_ns + sim->device.gap_ns;
            make_ready(sim, client->stream_head, arrive_ns > next_ns ? arrive_ns : next_ns);
        }
    }
    dispatch(sim);
}

void tally_sim_gpu_report(struct tally_sim *sim, uint32_t index)
{
    struct sim_grid grid = sim->grids[index];
    sim->grids[index].serial = sim->serial++; /* a flag that comes now comes too late */
    sim->grids[index].stream_next = sim->free_grid;
    sim->free_grid = index;
    struct tally_sched_event event = {
        .type = TALLY_SCHED_FINISHED, .launch = grid.launch, .lo = grid.lo, .hi = grid.hi};
    if (grid.skipping) {
        event.type = TALLY_SCHED_PREEMPTED;
        event.blocks = grid.stopped_at - grid.lo;
        event.lo = grid.stopped_at;
    }
    tally_sim_tell(sim, &event);
}
