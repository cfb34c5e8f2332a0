/* One block of a launch: its warps, one after the other, or as fibers where they wait for one
 * another. */
#include "block.h"

#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "tally/jump.h"

#define GUARD (64u << 10)
#define SOFT_REGION_MARGIN 4096u

extern const void *const soft_helpers[];

/* ---- workers -------------------------------------------------------------------------------- */

struct worker_with_thread {
    struct soft_worker worker;
    pthread_t thread;
};

struct soft_worker *soft_worker_create(uint32_t index)
{
    struct worker_with_thread *made = NULL;
    if (posix_memalign((void **)&made, 64, sizeof *made))
        return NULL;
    memset(made, 0, sizeof *made);
    struct soft_worker *worker = &made->worker;
    made->thread = pthread_self();
    worker->index = index;
    worker->current = SOFT_WARPS_MAX;
    soft_fault_install();
    worker->shared_mapping = mmap(NULL, SOFT_SHARED_WINDOW + 2 * GUARD, PROT_NONE,
                                  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (worker->shared_mapping == MAP_FAILED)
        worker->shared_mapping = NULL;
    if (!worker->shared_mapping || !soft_fibers_create(&worker->fibers) ||
        !soft_fault_thread_begin(worker) ||
        mprotect(worker->shared_mapping + GUARD, SOFT_SHARED_WINDOW, PROT_READ | PROT_WRITE)) {
        soft_worker_destroy(worker);
        return NULL;
    }
    worker->shared = worker->shared_mapping + GUARD;
    return worker;
}

void soft_worker_destroy(struct soft_worker *worker)
{
    if (!worker)
        return;
    soft_fault_thread_end(worker);
    soft_fibers_destroy(&worker->fibers);
    if (worker->shared_mapping)
        munmap(worker->shared_mapping, SOFT_SHARED_WINDOW + 2 * GUARD);
    if (worker->local)
        munmap(worker->local, worker->local_mapped);
    free((struct worker_with_thread *)worker);
}

void soft_worker_interrupt(struct soft_worker *worker)
{
    pthread_kill(((struct worker_with_thread *)worker)->thread, soft_fault_interrupt_signal());
}

/* Local memory: grown when a kernel needs more a thread than any before it on this worker. */
static bool ensure_local(struct soft_worker *worker, uint32_t bytes_per_thread)
{
    uint64_t needed = (uint64_t)(bytes_per_thread + SOFT_FRAMES_LOCAL) * SOFT_LANES + GUARD;
    needed = (needed + GUARD - 1) / GUARD * GUARD;
    if (worker->local && worker->local_stride >= needed)
        return true;
    if (worker->local)
        munmap(worker->local, worker->local_mapped);
    worker->local_mapped = needed * SOFT_WARPS_MAX;
    worker->local = mmap(NULL, worker->local_mapped, PROT_READ | PROT_WRITE,
                         MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (worker->local == MAP_FAILED) {
        worker->local = NULL;
        return false;
    }
    for (uint32_t i = 0; i < SOFT_WARPS_MAX; i++)
        mprotect(worker->local + (uint64_t)(i + 1) * needed - GUARD, GUARD, PROT_NONE);
    worker->local_stride = needed;
    return true;
}

/* ---- leaving a block before its end --------------------------------------------------------- */

_Noreturn void soft_leave(struct soft_worker *worker, struct soft_outcome outcome)
{
    worker->launch = NULL;
    worker->outcome = outcome;
    if (worker->current < SOFT_WARPS_MAX)
        soft_fiber_leave(&worker->fibers);
    siglongjmp(worker->leave, 1);
}

_Noreturn void soft_raise(struct soft_worker *worker, CUresult error, uint64_t address)
{
    soft_leave(worker, (struct soft_outcome){SOFT_FAULT, error, address});
}

/* ---- warps ---------------------------------------------------------------------------------- */

/* What is known of lanes' thread indices (see enum soft_variant). */
static enum soft_variant variant_of(const uint32_t block[3])
{
    uint32_t x = block[0], y = block[1], z = block[2];
    if (x % SOFT_LANES == 0 || (y == 1 && z == 1))
        return SOFT_ROW;
    if (x == 16 && (y % 2 == 0 || z == 1))
        return SOFT_HALVES;
    if (x == 8 && (y % 4 == 0 || z == 1))
        return SOFT_QUARTERS;
    return SOFT_ANY;
}

static void describe_warp(struct soft_worker *worker, struct soft_warp *warp, uint32_t index,
                          uint32_t threads, enum soft_variant variant)
{
    const uint32_t *block = worker->launch->block;
    uint32_t first = index * SOFT_LANES, left = threads - first;
    warp->index = index;
    warp->mask = left >= SOFT_LANES ? ~0u : (1u << left) - 1;
    warp->tid[0] = first % block[0];
    warp->tid[1] = first / block[0] % block[1];
    warp->tid[2] = first / block[0] / block[1];
    warp->local_base = (uint64_t)(uintptr_t)worker->local + index * worker->local_stride;
    if (variant != SOFT_ANY)
        return;
    uint32_t (*lanes)[SOFT_LANES] = worker->lanes[index];
    for (uint32_t lane = 0; lane < SOFT_LANES; lane++) {
        uint32_t thread = first + lane;
        lanes[0][lane] = thread % block[0];
        lanes[1][lane] = thread / block[0] % block[1];
        lanes[2][lane] = thread / block[0] / block[1];
    }
    warp->lanes = lanes[0];
}

static void describe_block(struct soft_worker *worker, struct soft_warp *warp, uint64_t block,
                           uint32_t warps)
{
    const struct soft_launch *launch = worker->launch;
    warp->launch = launch;
    warp->params = launch->params;
    warp->globals = launch->globals;
    warp->shared = worker->shared;
    warp->region_base = launch->region_base;
    warp->region_limit =
        launch->region_bytes > SOFT_REGION_MARGIN ? launch->region_bytes - SOFT_REGION_MARGIN : 0;
    warp->local_bytes = worker->local_stride - GUARD;
    warp->helpers_at = soft_helpers;
    warp->ctaid[0] = (uint32_t)(block % launch->grid[0]);
    uint64_t rest = block / launch->grid[0];
    warp->ctaid[1] = (uint32_t)(rest % launch->grid[1]);
    warp->ctaid[2] = (uint32_t)(rest / launch->grid[1]);
    memcpy(warp->ntid, launch->block, sizeof warp->ntid);
    memcpy(warp->nctaid, launch->grid, sizeof warp->nctaid);
    warp->dynamic_shared = launch->dynamic_shared_bytes;
    warp->total_shared = launch->dynamic_shared_bytes + launch->kernel->static_shared_bytes;
    warp->sm = worker->index;
    warp->warp_count = warps;
    warp->grid_id = launch->grid_id;
    warp->workspace = launch->workspace;
    warp->worker = worker;
}

static void run_in_turn(struct soft_worker *worker, uint32_t threads, uint32_t warps,
                        enum soft_variant variant)
{
    struct soft_warp *warp = &worker->warps[0];
    for (uint32_t i = 0; i < warps; i++) {
        describe_warp(worker, warp, i, threads, variant);
        worker->code(warp, warp->mask, warp->local_base, warp->params, NULL);
    }
}

/* ---- fibers and barriers -------------------------------------------------------------------- */

static void finish(struct soft_barrier *barrier)
{
    barrier->result_count = barrier->count;
    barrier->result_all = barrier->all;
    barrier->result_any = barrier->any;
    barrier->arrived = barrier->count = barrier->any = 0;
    barrier->all = 1;
}

static void wake(struct soft_worker *worker, uint32_t id)
{
    uint32_t warps = worker->warps[0].warp_count;
    for (uint32_t i = 0; i < warps; i++)
        if (worker->states[i] == SOFT_WARP_WAITS && worker->waits_for[i] == id)
            worker->states[i] = SOFT_WARP_READY;
}

/* Warps that have exited count as arrived. */
static void settle(struct soft_worker *worker)
{
    for (uint32_t id = 0; id < SOFT_BARRIERS; id++) {
        struct soft_barrier *barrier = &worker->barriers[id];
        if (!barrier->arrived || barrier->expected || barrier->arrived < worker->live)
            continue;
        finish(barrier);
        wake(worker, id);
    }
}

/* An interrupt that left half-way through a switch would leave AddressSanitizer on neither stack.
 * It is sent again until the block has ended. */
static void back_home(struct soft_worker *worker, uint32_t warp)
{
    worker->critical = 1;
    soft_fiber_back(&worker->fibers, warp);
    worker->critical = 0;
}

static void enter_fiber(struct soft_worker *worker, uint32_t warp)
{
    worker->critical = 1;
    worker->current = warp;
    soft_fiber_enter(&worker->fibers, warp);
    worker->current = SOFT_WARPS_MAX;
    worker->critical = 0;
}

void soft_pause(struct soft_warp *warp, uint64_t seen)
{
    struct soft_worker *worker = warp->worker;
    bool idle = !seen || worker->waiting.seen[warp->index] == seen;
    if (seen)
        worker->waiting.seen[warp->index] = seen;
    if (worker->in_fibers) {
        worker->idle = idle;
        back_home(worker, worker->current);
    } else if (idle) {
        soft_waiting_look(worker);
    } else {
        soft_waiting_over(worker);
    }
}

uint32_t soft_help_barrier(struct soft_warp *warp, uint32_t mask, uint32_t id, uint32_t threads,
                           uint32_t kind, uint32_t predicate)
{
    struct soft_worker *worker = warp->worker;
    if (id >= SOFT_BARRIERS || threads % SOFT_LANES || threads > SOFT_WARPS_MAX * SOFT_LANES)
        soft_raise(worker, CUDA_ERROR_ILLEGAL_INSTRUCTION, 0);
    struct soft_barrier *barrier = &worker->barriers[id];
    barrier->expected = threads / SOFT_LANES;
    barrier->count += (uint32_t)__builtin_popcount(predicate & mask);
    barrier->all &= (predicate & mask) == mask;
    barrier->any |= (predicate & mask) != 0;
    barrier->arrived++;
    if (barrier->arrived >= (barrier->expected ? barrier->expected : worker->live)) {
        finish(barrier);
        wake(worker, id);
    } else if (kind != 1) {
        if (!worker->in_fibers)
            soft_raise(worker, CUDA_ERROR_LAUNCH_TIMEOUT, 0);
        worker->waits_for[warp->index] = id;
        worker->states[warp->index] = SOFT_WARP_WAITS;
        back_home(worker, warp->index);
    }
    return kind == 2   ? barrier->result_count
           : kind == 3 ? barrier->result_all
                       : barrier->result_any;
}

static void fiber_main(void *argument)
{
    struct soft_warp *warp = argument;
    struct soft_worker *worker = warp->worker;
    soft_fiber_begin(&worker->fibers, warp->index);
    worker->critical = 0;
    worker->code(warp, warp->mask, warp->local_base, warp->params, NULL);
    worker->states[warp->index] = SOFT_WARP_DONE;
    worker->live--;
    settle(worker);
    worker->critical = 1;
    soft_fiber_end(&worker->fibers, warp->index);
}

static void run_in_fibers(struct soft_worker *worker, uint32_t threads, uint32_t warps,
                          enum soft_variant variant)
{
    memset(worker->barriers, 0, sizeof worker->barriers);
    for (uint32_t id = 0; id < SOFT_BARRIERS; id++)
        worker->barriers[id].all = 1;
    for (uint32_t i = 0; i < warps; i++) {
        if (i)
            worker->warps[i] = worker->warps[0];
        describe_warp(worker, &worker->warps[i], i, threads, variant);
        soft_fiber_prepare(&worker->fibers, i, fiber_main, &worker->warps[i]);
        worker->states[i] = SOFT_WARP_READY;
    }
    worker->live = warps;
    worker->in_fibers = true;
    while (worker->live) {
        bool progress = false, idle = true;
        for (uint32_t i = 0; i < warps; i++) {
            if (worker->states[i] != SOFT_WARP_READY)
                continue;
            progress = true;
            worker->idle = false;
            enter_fiber(worker, i);
            idle = idle && worker->idle;
        }
        /* Warps wait at barriers that nobody is left to complete; on hardware the launch would
         * hang. */
        if (!progress)
            soft_raise(worker, CUDA_ERROR_LAUNCH_TIMEOUT, 0);
        if (__atomic_load_n(worker->launch->abort, __ATOMIC_RELAXED))
            soft_leave(worker, (struct soft_outcome){SOFT_ABORTED, CUDA_SUCCESS, 0});
        if (idle)
            soft_waiting_look(worker);
        else
            soft_waiting_over(worker);
    }
    worker->in_fibers = false;
}

/* ---- the seam ------------------------------------------------------------------------------- */

static CUresult code_of(const struct soft_kernel *kernel, enum soft_variant variant,
                        soft_warp_fn *code)
{
    struct soft_entry *entry = (struct soft_entry *)kernel->entry;
    *code = atomic_load_explicit(&entry->code[variant], memory_order_acquire);
    if (*code)
        return CUDA_SUCCESS;
    CUresult error = entry->resolve(entry->token, variant, code);
    if (error)
        return error;
    atomic_store_explicit(&entry->code[variant], *code, memory_order_release);
    return CUDA_SUCCESS;
}

CUresult soft_resolve(const struct soft_kernel *kernel, const uint32_t block[3])
{
    soft_warp_fn code;
    return code_of(kernel, variant_of(block), &code);
}

struct soft_outcome soft_run_block(struct soft_worker *worker, const struct soft_launch *launch,
                                   uint64_t block)
{
    const struct soft_entry *entry = launch->kernel->entry;
    uint32_t threads = launch->block[0] * launch->block[1] * launch->block[2];
    uint32_t warps = (threads + SOFT_LANES - 1) / SOFT_LANES;
    enum soft_variant variant = variant_of(launch->block);
    if (__atomic_load_n(launch->abort, __ATOMIC_RELAXED))
        return (struct soft_outcome){SOFT_ABORTED, CUDA_SUCCESS, 0};
    CUresult error = code_of(launch->kernel, variant, &worker->code);
    if (!error && (warps > SOFT_WARPS_MAX || launch->dynamic_shared_bytes > SOFT_SHARED_WINDOW))
        error = CUDA_ERROR_INVALID_VALUE;
    if (!error && !ensure_local(worker, entry->local_bytes))
        error = CUDA_ERROR_OUT_OF_MEMORY;
    if (error)
        return (struct soft_outcome){SOFT_FAULT, error, 0};

    if (sigsetjmp(worker->leave, TALLY_JUMP_SAVES_MASK)) {
        if (worker->current < SOFT_WARPS_MAX)
            soft_fiber_jumped(&worker->fibers);
        worker->current = SOFT_WARPS_MAX;
        worker->in_fibers = false;
        return worker->outcome;
    }
    worker->launch = launch;
    soft_waiting_begin(worker);
    describe_block(worker, &worker->warps[0], block, warps);
    if (entry->flags & SOFT_NEEDS_FIBERS && warps > 1)
        run_in_fibers(worker, threads, warps, variant);
    else {
        worker->live = 1;
        memset(worker->barriers, 0, sizeof worker->barriers);
        for (uint32_t id = 0; id < SOFT_BARRIERS; id++)
            worker->barriers[id].all = 1;
        run_in_turn(worker, threads, warps, variant);
    }
    worker->launch = NULL;
    return (struct soft_outcome){SOFT_DONE, CUDA_SUCCESS, 0};
}
