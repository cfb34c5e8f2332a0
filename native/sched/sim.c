/* The simulator's event loop, and the way between the scheduler and the device. */
#include "sim.h"

#include <stdlib.h>
#include <string.h>

#include "sim_state.h"

/* ---- events, by time: a heap of four children a node ---------------------------------------- */

static inline bool before(const struct sim_event *a, const struct sim_event *b)
{
    return a->time_ns < b->time_ns || (a->time_ns == b->time_ns && a->order < b->order);
}

void tally_sim_plan(struct tally_sim *sim, uint64_t time_ns, uint32_t type, uint32_t a, uint32_t b)
{
    if (sim->heap_count == sim->heap_max) {
        size_t max = sim->heap_max * 2;
        struct sim_event *heap = realloc(sim->heap, max * sizeof *heap);
        if (!heap) {
            sim->wrong = "out of memory";
            return;
        }
        sim->heap = heap;
        sim->heap_max = max;
    }
    struct sim_event event = {time_ns, sim->order++, type, a, b};
    size_t at = sim->heap_count++;
    while (at > 0 && before(&event, &sim->heap[(at - 1) / 4])) {
        sim->heap[at] = sim->heap[(at - 1) / 4];
        at = (at - 1) / 4;
    }
    sim->heap[at] = event;
}

static struct sim_event take_event(struct tally_sim *sim)
{
    struct sim_event *heap = sim->heap, first = heap[0], last = heap[--sim->heap_count];
    size_t at = 0, count = sim->heap_count;
    for (;;) {
        size_t child = at * 4 + 1, least = child;
        if (child >= count)
            break;
        size_t end = child + 4 < count ? child + 4 : count;
        for (size_t i = child + 1; i < end; i++)
            if (before(&heap[i], &heap[least]))
                least = i;
        if (!before(&heap[least], &last))
            break;
        heap[at] = heap[least];
        at = least;
    }
    if (count > 0)
        heap[at] = last;
    return first;
}

/* ---- the scheduler -------------------------------------------------------------------------- */

static void obey(struct tally_sim *sim, const struct tally_sched_instruction *in)
{
    switch (in->type) {
    case TALLY_SCHED_START:
        tally_sim_gpu_start(sim, in);
        break;
    case TALLY_SCHED_PREEMPT:
        tally_sim_gpu_preempt(sim, in->launch);
        break;
    case TALLY_SCHED_COMPLETE:
        tally_sim_client_complete(sim, in->launch);
        break;
    case TALLY_SCHED_SET_TIMER:
        sim->timer_ns = in->time_ns;
        tally_sim_plan(sim, in->time_ns, SIM_TIMER, 0, 0);
        break;
    case TALLY_SCHED_RESCUE:
        break; /* virtual blocks do not wait for one another: it ends by itself */
    default:
        sim->wrong = "the scheduler dropped something";
        break;
    }
}

void tally_sim_tell(struct tally_sim *sim, struct tally_sched_event *event)
{
    for (;;) {
        int count = tally_sched_handle(sim->sched, event, sim->now_ns, sim->out, SIM_ROOM);
        if (count < 0) {
            sim->wrong = "the scheduler refused an event";
            return;
        }
        for (int i = 0; i < count; i++)
            obey(sim, &sim->out[i]);
        if (sim->check) {
            const char *wrong = tally_sched_validate(sim->sched);
            if (wrong)
                sim->wrong = wrong;
        }
        if (count < (int)SIM_ROOM)
            return;
        *event = (struct tally_sched_event){.type = TALLY_SCHED_CONTINUE};
    }
}

static void handle(struct tally_sim *sim, const struct sim_event *event)
{
    switch (event->type) {
    case SIM_CLIENT:
        tally_sim_client_step(sim, event->a);
        break;
    case SIM_SUBMIT:
        tally_sim_client_submit(sim, event->a);
        break;
    case SIM_READY:
        tally_sim_gpu_ready(sim, event->a);
        break;
    case SIM_COHORT:
        tally_sim_gpu_cohort(sim, event->a, event->b);
        break;
    case SIM_FLAG:
        tally_sim_gpu_flag(sim, event->a, event->b);
        break;
    case SIM_REPORT:
        tally_sim_gpu_report(sim, event->a);
        break;
    case SIM_TIMER:
        if (event->time_ns != sim->timer_ns)
            return; /* replaced by an earlier one */
        sim->timer_ns = TALLY_SCHED_NEVER;
        tally_sim_tell(sim, &(struct tally_sched_event){.type = TALLY_SCHED_TIMER});
        break;
    }
}

const char *tally_sim_run(struct tally_sim *sim, uint64_t end_ns, bool check)
{
    sim->check = check;
    while (!sim->wrong && sim->heap_count > 0 && sim->heap[0].time_ns <= end_ns) {
        struct sim_event event = take_event(sim);
        sim->now_ns = event.time_ns;
        sim->events++;
        handle(sim, &event);
    }
    if (!sim->wrong && end_ns > sim->now_ns)
        sim->now_ns = end_ns;
    return sim->wrong;
}

/* ---- making and reading --------------------------------------------------------------------- */

static bool input_ok(const struct tally_sim *sim)
{
    if (sim->device.units == 0 || sim->kernel_count == 0 || sim->client_count == 0 ||
        sim->config.levels > TALLY_SIM_LEVELS_MAX || sim->client_count > sim->config.sessions_max ||
        sim->client_count > sim->config.queues_max)
        return false;
    for (uint32_t i = 0; i < sim->kernel_count; i++) {
        const struct tally_sim_kernel *kernel = &sim->kernels[i];
        if (kernel->blocks == 0 || kernel->units == 0 || kernel->units > sim->device.units ||
            kernel->spread_permil > 1000)
            return false;
    }
    for (uint32_t i = 0; i < sim->client_count; i++) {
        const struct tally_sim_client *given = &sim->clients[i].given;
        uint32_t end = 0;
        uint64_t cpu_ns = 0;
        if (given->program_count == 0)
            return false;
        for (uint32_t p = 0; p < given->program_count; p++) {
            if (given->program_ends[p] <= end)
                return false;
            end = given->program_ends[p];
        }
        for (uint32_t op = 0; op < end; op++) {
            int32_t kernel = given->ops[op].kernel;
            if (kernel != TALLY_SIM_SYNC && (kernel < 0 || (uint32_t)kernel >= sim->kernel_count))
                return false;
            cpu_ns += given->ops[op].cpu_ns + (kernel >= 0);
        }
        /* A program that takes no time at all would repeat for ever at one instant. */
        if (cpu_ns == 0)
            return false;
    }
    return true;
}

static bool allocate(struct tally_sim *sim)
{
    sim->grid_count = sim->config.launches_max * 4; /* slices of one launch in flight: at most 4 */
    sim->heap_max = 4096;
    sim->launches = calloc(sim->config.launches_max, sizeof *sim->launches);
    sim->grids = calloc(sim->grid_count, sizeof *sim->grids);
    sim->heap = calloc(sim->heap_max, sizeof *sim->heap);
    if (!sim->launches || !sim->grids || !sim->heap)
        return false;
    for (uint32_t i = 0; i < sim->config.launches_max; i++)
        sim->launches[i].next_free = i + 1 < sim->config.launches_max ? i + 1 : SIM_NONE;
    for (uint32_t i = 0; i < sim->grid_count; i++)
        sim->grids[i].stream_next = i + 1 < sim->grid_count ? i + 1 : SIM_NONE;
    for (uint32_t i = 0; i < TALLY_SIM_LEVELS_MAX; i++)
        sim->ready[i] = (struct sim_list){SIM_NONE, SIM_NONE};
    for (uint32_t i = 0; i < sim->client_count; i++) {
        struct sim_client *client = &sim->clients[i];
        client->times_max = client->given.arrivals ? client->given.arrival_count : 4096;
        if (client->times_max == 0)
            client->times_max = 1;
        client->service_ns = calloc(client->times_max, sizeof *client->service_ns);
        client->response_ns = calloc(client->times_max, sizeof *client->response_ns);
        if (!client->service_ns || !client->response_ns)
            return false;
    }
    return true;
}

struct tally_sim *tally_sim_create(const struct tally_sim_device *device,
                                   const struct tally_sched_config *config,
                                   const struct tally_sim_kernel *kernels, uint32_t kernel_count,
                                   const struct tally_sim_client *clients, uint32_t client_count)
{
    struct tally_sim *sim = calloc(1, sizeof *sim);
    if (!sim)
        return NULL;
    sim->device = *device;
    sim->config = *config;
    sim->kernels = kernels;
    sim->kernel_count = kernel_count;
    sim->timer_ns = TALLY_SCHED_NEVER;
    sim->clients = calloc(client_count ? client_count : 1, sizeof *sim->clients);
    if (sim->clients)
        sim->client_count = client_count;
    for (uint32_t i = 0; i < sim->client_count; i++) {
        sim->clients[i].given = clients[i];
        sim->clients[i].random = clients[i].seed * 2 + 1;
        sim->clients[i].stream_head = sim->clients[i].stream_tail = SIM_NONE;
    }
    if (!sim->clients || !input_ok(sim) || !allocate(sim) ||
        !(sim->sched = tally_sched_create(config))) {
        tally_sim_destroy(sim);
        return NULL;
    }
    for (uint32_t i = 0; i < client_count; i++) {
        struct tally_sched_event event = {.type = TALLY_SCHED_SESSION_OPEN,
                                          .session = i,
                                          .job = clients[i].job,
                                          .class_ = clients[i].class_,
                                          .weight = clients[i].weight,
                                          .priority = clients[i].priority};
        tally_sim_tell(sim, &event);
        tally_sim_client_begin(sim, i);
    }
    return sim;
}

void tally_sim_destroy(struct tally_sim *sim)
{
    if (!sim)
        return;
    for (uint32_t i = 0; i < sim->client_count; i++) {
        free(sim->clients[i].service_ns);
        free(sim->clients[i].response_ns);
    }
    tally_sched_destroy(sim->sched);
    free(sim->clients);
    free(sim->launches);
    free(sim->grids);
    free(sim->heap);
    free(sim);
}

void tally_sim_read(const struct tally_sim *sim, uint32_t client, struct tally_sim_result *result)
{
    *result =
        client < sim->client_count ? sim->clients[client].result : (struct tally_sim_result){0};
}

uint64_t tally_sim_latencies(const struct tally_sim *sim, uint32_t index, uint64_t *service_ns,
                             uint64_t *response_ns, uint64_t max)
{
    if (index >= sim->client_count)
        return 0;
    const struct sim_client *client = &sim->clients[index];
    uint64_t count = client->result.programs;
    if (count > client->times_max)
        count = client->times_max;
    if (count > max)
        count = max;
    memcpy(service_ns, client->service_ns, count * sizeof *service_ns);
    memcpy(response_ns, client->response_ns, count * sizeof *response_ns);
    return count;
}

const struct tally_sched *tally_sim_sched(const struct tally_sim *sim) { return sim->sched; }

uint64_t tally_sim_events(const struct tally_sim *sim) { return sim->events; }
