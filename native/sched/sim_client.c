/* The clients: each walks through its programs, calling and waiting as a CUDA program does. */
#include "sim_state.h"

static uint64_t draw(uint64_t *state)
{ /* splitmix64 */
    uint64_t z = (*state += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

static uint32_t program_begin(const struct sim_client *client, uint32_t program)
{
    return program == 0 ? 0 : client->given.program_ends[program - 1];
}

/* Plans the client's next op, or its waiting. */
static void plan_op(struct tally_sim *sim, uint32_t index)
{
    struct sim_client *client = &sim->clients[index];
    const struct tally_sim_op *op = &client->given.ops[client->op];
    bool at_end = client->op == client->given.program_ends[client->program];
    bool sync = at_end || op->kernel == TALLY_SIM_SYNC;
    bool full = client->outstanding >= sim->config.session_launches_max;
    if (sync ? client->outstanding > 0 : full) {
        client->waiting = true;
        return;
    }
    tally_sim_plan(sim, sim->now_ns + (at_end ? 0 : op->cpu_ns), SIM_CLIENT, index, 0);
}

void tally_sim_client_begin(struct tally_sim *sim, uint32_t index)
{
    struct sim_client *client = &sim->clients[index];
    uint64_t when = sim->now_ns;
    if (client->given.arrivals) {
        if (client->next_arrival == client->given.arrival_count)
            return;
        client->arrived_ns = client->given.arrivals[client->next_arrival++];
        if (client->arrived_ns > when)
            when = client->arrived_ns;
    } else {
        client->arrived_ns = when;
    }
    client->op = program_begin(client, client->program);
    client->running = false;
    tally_sim_plan(sim, when, SIM_CLIENT, index, 0);
}

static void end_program(struct tally_sim *sim, uint32_t index)
{
    struct sim_client *client = &sim->clients[index];
    uint64_t at = client->result.programs++;
    if (at < client->times_max) {
        client->service_ns[at] = sim->now_ns - client->begun_ns;
        client->response_ns[at] = sim->now_ns - client->arrived_ns;
    }
    client->result.busy_ns += sim->now_ns - client->begun_ns;
    client->program = (client->program + 1) % client->given.program_count;
    tally_sim_client_begin(sim, index);
}

static void call_kernel(struct tally_sim *sim, uint32_t index, uint32_t kernel)
{
    struct sim_client *client = &sim->clients[index];
    uint32_t slot = sim->free_launch;
    if (slot == SIM_NONE) {
        sim->wrong = "more launches outstanding than launches_max";
        return;
    }
    struct sim_launch *launch = &sim->launches[slot];
    sim->free_launch = launch->next_free;
    launch->client = index;
    launch->kernel = kernel;
    launch->block_ns = sim->kernels[kernel].block_ns[draw(&client->random) % TALLY_SIM_QUANTILES];
    client->outstanding++;
    client->result.launches++;
    if (sim->device.forward_ns == 0)
        tally_sim_client_submit(sim, slot);
    else
        tally_sim_plan(sim, sim->now_ns + sim->device.forward_ns, SIM_SUBMIT, slot, 0);
}

void tally_sim_client_submit(struct tally_sim *sim, uint32_t slot)
{
    const struct sim_launch *launch = &sim->launches[slot];
    const struct tally_sim_kernel *kernel = &sim->kernels[launch->kernel];
    struct tally_sched_event event = {.type = TALLY_SCHED_LAUNCH,
                                      .session = launch->client,
                                      .queue = launch->client,
                                      .launch = slot,
                                      .blocks = kernel->blocks,
                                      .plan = kernel->plan};
    tally_sim_tell(sim, &event);
}

void tally_sim_client_step(struct tally_sim *sim, uint32_t index)
{
    struct sim_client *client = &sim->clients[index];
    if (!client->running) {
        client->running = true;
        client->begun_ns = sim->now_ns;
        plan_op(sim, index);
        return;
    }
    if (client->op == client->given.program_ends[client->program]) {
        end_program(sim, index);
        return;
    }
    int32_t kernel = client->given.ops[client->op].kernel;
    client->op++;
    client->result.ops_done++;
    if (kernel != TALLY_SIM_SYNC)
        call_kernel(sim, index, (uint32_t)kernel);
    plan_op(sim, index);
}

void tally_sim_client_complete(struct tally_sim *sim, uint32_t slot)
{
    uint32_t index = sim->launches[slot].client;
    struct sim_client *client = &sim->clients[index];
    sim->launches[slot].next_free = sim->free_launch;
    sim->free_launch = slot;
    client->outstanding--;
    if (!client->waiting)
        return;
    bool at_end = client->op == client->given.program_ends[client->program];
    bool sync = at_end || client->given.ops[client->op].kernel == TALLY_SIM_SYNC;
    if (sync && client->outstanding > 0)
        return;
    client->waiting = false;
    uint64_t cpu_ns = at_end ? 0 : client->given.ops[client->op].cpu_ns;
    tally_sim_plan(sim, sim->now_ns + sim->device.reply_ns + cpu_ns, SIM_CLIENT, index, 0);
}
