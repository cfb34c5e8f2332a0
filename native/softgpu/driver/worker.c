/* Workers play the SMs. A device has one ready list, by urgency and then age; a worker takes the
 * first op that has parts left, and keeps taking parts of it without the lock until it runs out or
 * something more urgent is ready. A part is a block of a launch or a chunk of a copy; a running one
 * is never interrupted, except when its tenant fails. A worker whose block waits for other blocks
 * does not count: a spare, which is one more worker, has its place, so that all blocks of a grid
 * that waits get on. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "background.h"
#include "parts.h"
#include "queue.h"

#define NO_TENANT UINT32_MAX
#define SPIN_NS 20000
#define SPIN_CHECKS 16 /* between looks at the clock */
#define SPARE_REST_S 1 /* without work, then a spare ends */

struct soft_worker_slot {
    struct soft_device *device;
    uint32_t sm; /* of the worker that it is, or stands in for */
    bool spare;
    pthread_t thread;
    struct soft_worker *worker;
    uint32_t tenant; /* whose part it runs; under soft_lock */
    struct soft_op *op;
    bool used;       /* has a thread */
    bool waits;      /* the block that it runs does */
    bool background; /* how the kernel schedules its thread; under soft_lock */
    pid_t tid;       /* its thread's; set before it first takes a part */
};

static _Thread_local struct soft_worker_slot *own_slot; /* set in worker threads */

static void start_spare(struct soft_device *device);

/* Under the lock. A thread that is only nicer ends its turn, some milliseconds, before a program's
 * that wakes runs; one of the idle policy makes way at once. So that is a worker's way as long as
 * nothing of an urgent tenant needs its place. */
static void set_background(struct soft_worker_slot *slot, bool background)
{
    if (slot->background == background || !slot->device->can_background)
        return;
    if (soft_set_background(slot->tid, background))
        slot->background = background;
}

static bool is_urgent(const struct soft_op *op)
{
    return op->priority < 0 ||
           atomic_load_explicit(&op->stream->tenant->urgent, memory_order_relaxed);
}

static bool urgent_waits(const struct soft_device *device)
{
    return device->ready && is_urgent(device->ready);
}

/* Under the lock. Who is in the background may not get a CPU for long, and what it runs has to end
 * first. */
static void hurry_workers(struct soft_device *device)
{
    for (uint32_t i = 0; i < device->worker_count + SOFT_SPARES_MAX; i++)
        if (device->workers[i].background)
            set_background(&device->workers[i], false);
}

/* Copies go ahead of launches of the same priority, as they have an engine of their own in
 * hardware. */
static int urgency(const struct soft_op *op)
{
    return op->priority * 2 - (op->kind != SOFT_OP_LAUNCH);
}

static void update_top(struct soft_device *device)
{
    atomic_store_explicit(&device->top, device->ready ? device->ready->urgency : INT_MAX,
                          memory_order_relaxed);
}

/* Whether a worker more may take a part: those whose blocks wait do not count. */
static bool has_room(const struct soft_device *device)
{
    return atomic_load_explicit(&device->running, memory_order_relaxed) < device->worker_count;
}

/* Wakes one worker, or starts a spare where all have blocks; a worker that takes the first part of
 * much wakes the next. One that still looks for work needs no waking. */
static void wake(struct soft_device *device)
{
    if (device->spinner || !has_room(device))
        return;
    if (device->sleepers)
        pthread_cond_signal(&device->work);
    else if (device->busy == device->slot_count)
        start_spare(device);
}

/* The same, unless the caller is on its own way to the list. */
static void kick(struct soft_device *device)
{
    if (!own_slot || own_slot->device != device)
        wake(device);
}

void soft_make_ready(struct soft_op *op)
{
    struct soft_device *device = op->stream->device;
    op->urgency = urgency(op);
    struct soft_op *previous = NULL, *next = device->ready;
    while (next && next->urgency <= op->urgency) {
        previous = next;
        next = next->ready_next;
    }
    op->ready_previous = previous;
    op->ready_next = next;
    if (previous)
        previous->ready_next = op;
    else
        device->ready = op;
    if (next)
        next->ready_previous = op;
    op->listed = true;
    update_top(device);
    if (is_urgent(op))
        hurry_workers(device);
    kick(device);
}

void soft_unlist(struct soft_op *op)
{
    if (!op->listed)
        return;
    struct soft_device *device = op->stream->device;
    if (op->ready_previous)
        op->ready_previous->ready_next = op->ready_next;
    else
        device->ready = op->ready_next;
    if (op->ready_next)
        op->ready_next->ready_previous = op->ready_previous;
    op->listed = false;
    update_top(device);
}

void soft_forget(struct soft_op *op)
{
    struct soft_device *device = op->stream->device;
    soft_unlist(op);
    if (device->cooperative == op) {
        device->cooperative = NULL;
        if (device->ready)
            kick(device); /* the next cooperative one may go */
    }
}

/* Blocks that wait for the one before them, as in a chain of sums, need no more beside them while
 * they end one after the other: each one more would wait too, and hundreds that look leave no CPU
 * to the one that can go on. A grid of which no block has ended may have a barrier of its own: it
 * gets them all, at once. */
static bool gets_on(const struct soft_op *op)
{
    return atomic_load_explicit(&op->waiters, memory_order_relaxed) && !op->cooperative &&
           soft_now_ns() < atomic_load_explicit(&op->resume_ns, memory_order_relaxed);
}

/* The most urgent op with a part left, that part claimed: so the op outlives the worker's interest
 * in it. */
static struct soft_op *take(struct soft_device *device, uint64_t *part)
{
    struct soft_op *next;
    if (!has_room(device))
        return NULL;
    for (struct soft_op *op = device->ready; op; op = next) {
        next = op->ready_next;
        /* Two half-placed cooperative grids would wait for each other's workers for ever. */
        if (op->cooperative && device->cooperative && device->cooperative != op)
            continue;
        if (gets_on(op))
            continue;
        if (atomic_load_explicit(&op->waiters, memory_order_relaxed) &&
            atomic_load_explicit(&op->resume_ns, memory_order_relaxed))
            soft_resume_later(op, soft_now_ns()); /* one at a time */
        *part = atomic_fetch_add_explicit(&op->claimed, 1, memory_order_relaxed);
        if (*part + 1 >= op->total)
            soft_unlist(op);
        if (*part >= op->total)
            continue;
        /* Here, as who has claimed it may not get a CPU for a while, and others run the rest. */
        if (*part == 0)
            op->start_ns = soft_now_ns();
        if (op->cooperative)
            device->cooperative = op;
        if (op->stints++ == 0)
            op->active_since_ns = soft_now_ns();
        device->busy++;
        atomic_fetch_add_explicit(&device->running, 1, memory_order_relaxed);
        if (device->ready)
            wake(device);
        return op;
    }
    return NULL;
}

static bool look_for_work(struct soft_device *device)
{
    uint64_t until = soft_now_ns() + SPIN_NS;
    for (uint32_t i = 1;; i++) {
        if (atomic_load_explicit(&device->top, memory_order_relaxed) != INT_MAX)
            return true;
        soft_relax();
        if (i % SPIN_CHECKS == 0 && soft_now_ns() > until)
            return false;
    }
}

/* Under the lock: until woken. False: a spare that nobody needed for long. */
static bool doze(struct soft_device *device, bool spare)
{
    struct timespec until;
    int error = 0;
    device->sleepers++;
    if (spare) {
        clock_gettime(CLOCK_MONOTONIC, &until);
        until.tv_sec += SPARE_REST_S;
        error = pthread_cond_clockwait(&device->work, &soft.lock, CLOCK_MONOTONIC, &until);
    } else {
        pthread_cond_wait(&device->work, &soft.lock);
    }
    device->sleepers--;
    return error != ETIMEDOUT;
}

/* Under the lock. Looks for work a little while, if nobody else does, then sleeps until woken.
 * False: it has been without work for long. */
static bool rest(struct soft_device *device, bool *looked, bool spare)
{
    if (soft.lookers_max && !*looked && !device->spinner && has_room(device)) {
        device->spinner = true;
        soft_unlock();
        look_for_work(device);
        soft_lock();
        device->spinner = false;
        *looked = true;
        return true;
    }
    *looked = false;
    return doze(device, spare);
}

static void *worker_main(void *argument)
{
    struct soft_worker_slot *slot = argument;
    struct soft_device *device = slot->device;
    bool looked = false;
    struct soft_worker *worker = soft_worker_create(slot->sm);
    own_slot = slot;
    soft_give_way_to_programs();
    slot->tid = gettid();
    soft_lock();
    slot->worker = worker;
    /* A worker without memory for one fails its parts, a spare takes none. */
    while (worker || !slot->spare) {
        uint64_t part;
        struct soft_op *op = take(device, &part);
        if (!op) {
            if (!rest(device, &looked, slot->spare) && !device->ready)
                break;
            continue;
        }
        looked = false;
        slot->tenant = op->stream->tenant->id;
        slot->op = op;
        set_background(slot, !is_urgent(op) && !urgent_waits(device));
        soft_unlock();
        struct soft_stint stint = soft_stint_run(worker, op, part);
        soft_lock();
        slot->tenant = NO_TENANT;
        slot->op = NULL;
        device->busy--;
        atomic_fetch_sub_explicit(&device->running, 1, memory_order_relaxed);
        soft_stint_end(op, stint);
    }
    slot->background = false;
    slot->worker = NULL; /* a spare: workers live as long as the process */
    slot->used = false;
    device->slot_count--;
    soft_unlock();
    soft_worker_destroy(worker);
    return NULL;
}

void soft_interrupt_tenant(struct soft_tenant *tenant)
{
    for (uint32_t d = 0; d < soft.device_count; d++) {
        struct soft_device *device = &soft.devices[d];
        for (uint32_t i = 0; device->workers && i < device->worker_count + SOFT_SPARES_MAX; i++)
            if (device->workers[i].worker && device->workers[i].tenant == tenant->id)
                soft_worker_interrupt(device->workers[i].worker);
    }
}

/* Under the lock. */
static bool start_worker(struct soft_device *device, uint32_t index)
{
    struct soft_worker_slot *slot = &device->workers[index];
    *slot = (struct soft_worker_slot){.device = device,
                                      .sm = index % device->worker_count,
                                      .spare = index >= device->worker_count,
                                      .tenant = NO_TENANT,
                                      .used = true};
    if (pthread_create(&slot->thread, NULL, worker_main, slot) != 0) {
        slot->used = false;
        return false;
    }
    char name[24];
    snprintf(name, sizeof name, "soft-sm-%u", index);
    pthread_setname_np(slot->thread, name);
    device->slot_count++;
    return true;
}

/* Under the lock. Without one, blocks that wait for one that has not begun wait on. */
static void start_spare(struct soft_device *device)
{
    for (uint32_t i = device->worker_count; i < device->worker_count + SOFT_SPARES_MAX; i++) {
        if (device->workers[i].used)
            continue;
        if (start_worker(device, i))
            pthread_detach(device->workers[i].thread);
        return;
    }
}

void soft_block_waits(bool waits)
{
    struct soft_worker_slot *slot = own_slot;
    if (!slot || slot->waits == waits)
        return;
    soft_lock();
    slot->waits = waits;
    if (waits) {
        atomic_fetch_add_explicit(&slot->op->waiters, 1, memory_order_relaxed);
        atomic_fetch_sub_explicit(&slot->device->running, 1, memory_order_relaxed);
    } else {
        atomic_fetch_add_explicit(&slot->device->running, 1, memory_order_relaxed);
        atomic_fetch_sub_explicit(&slot->op->waiters, 1, memory_order_relaxed);
    }
    if (slot->device->ready &&
        (waits || !atomic_load_explicit(&slot->op->waiters, memory_order_relaxed)))
        /* In the waiting block's place; or once nobody waits, to go on as usual. */
        wake(slot->device);
    soft_unlock();
}

void soft_block_waits_on(void)
{
    struct soft_worker_slot *slot = own_slot;
    if (!slot || atomic_load_explicit(&slot->device->top, memory_order_relaxed) == INT_MAX ||
        !has_room(slot->device) || gets_on(slot->op))
        return;
    soft_lock();
    if (slot->device->ready)
        wake(slot->device);
    soft_unlock();
}

struct soft_device *soft_worker_device(void) { return own_slot->device; }

uint32_t soft_resident(uint32_t threads, uint64_t shared_bytes)
{
    uint64_t blocks = SOFT_RESIDENT_THREADS_MAX / (threads ? threads : 1);
    if (shared_bytes && SOFT_SHARED_MAX / shared_bytes < blocks)
        blocks = SOFT_SHARED_MAX / shared_bytes;
    return blocks > SOFT_RESIDENT_MAX ? SOFT_RESIDENT_MAX : blocks ? (uint32_t)blocks : 1;
}

CUresult soft_device_start(struct soft_device *device)
{
    if (device->started)
        return CUDA_SUCCESS;
    static bool guarded;
    if (!guarded)
        soft_guard_install();
    guarded = true;
    uint32_t wanted = device->worker_count;
    device->workers = calloc(wanted + SOFT_SPARES_MAX, sizeof *device->workers);
    if (!device->workers)
        return CUDA_ERROR_OUT_OF_MEMORY;
    device->can_background = soft_background_possible();
    while (device->slot_count < wanted && start_worker(device, device->slot_count)) {
    }
    device->worker_count = device->slot_count; /* fewer SMs, if any */
    device->started = device->worker_count > 0;
    return device->started ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY;
}
