/* Parts of ops: blocks of launches, chunks of copies and fills. */
#include "parts.h"

#define ACCOUNT_NS 100000 /* how late a tenant's usage may be */

static void account(struct soft_op *op, uint64_t busy_ns, uint64_t blocks)
{
    if (op->kind != SOFT_OP_LAUNCH)
        return;
    struct soft_tenant *tenant = op->stream->tenant;
    atomic_fetch_add_explicit(&tenant->busy_ns, busy_ns, memory_order_relaxed);
    atomic_fetch_add_explicit(&tenant->blocks, blocks, memory_order_relaxed);
    atomic_fetch_add_explicit(&op->busy_ns, busy_ns, memory_order_relaxed);
}

static CUresult run_part(struct soft_worker *worker, struct soft_op *op, uint64_t part)
{
    if (op->kind == SOFT_OP_COPY)
        return soft_box_run(op, part) ? CUDA_SUCCESS : CUDA_ERROR_ILLEGAL_ADDRESS;
    if (op->kind == SOFT_OP_FILL)
        return soft_fill_run(op, part) ? CUDA_SUCCESS : CUDA_ERROR_ILLEGAL_ADDRESS;
    if (!worker)
        return CUDA_ERROR_OUT_OF_MEMORY;
    struct soft_outcome outcome = soft_run_block(worker, &op->launch, part);
    if (outcome.kind != SOFT_FAULT)
        return CUDA_SUCCESS;
    if (outcome.error == CUDA_SUCCESS)
        outcome.error = CUDA_ERROR_LAUNCH_FAILED;
    soft_blame_kernel(op->stream->tenant, &op->launch, part, &outcome);
    return outcome.error;
}

struct soft_stint soft_stint_run(struct soft_worker *worker, struct soft_op *op, uint64_t part)
{
    struct soft_device *device = op->stream->device;
    struct soft_stint stint = {0, CUDA_SUCCESS};
    uint64_t since = soft_now_ns(), counted = 0;
    for (;;) {
        stint.error = run_part(worker, op, part);
        stint.parts++;
        counted++;
        uint64_t now = soft_now_ns();
        if (now - since > ACCOUNT_NS) {
            account(op, now - since, counted);
            since = now;
            counted = 0;
        }
        soft_block_waits(false);
        bool others_wait = atomic_load_explicit(&op->waiters, memory_order_relaxed);
        soft_resume_later(op, now);
        if (others_wait || stint.error != CUDA_SUCCESS ||
            atomic_load_explicit(&device->top, memory_order_relaxed) < op->urgency ||
            atomic_load_explicit(&device->running, memory_order_relaxed) > device->worker_count)
            break;
        part = atomic_fetch_add_explicit(&op->claimed, 1, memory_order_relaxed);
        if (part >= op->total)
            break;
    }
    if (counted)
        account(op, soft_now_ns() - since, counted);
    return stint;
}

static void report(struct soft_op *op)
{
    softgpu_launch_done_fn done = soft.launch_done;
    void *user = soft.launch_done_user;
    struct softgpu_launch_times times = {
        .tag = op->tag,
        .start_ns = op->start_ns,
        .end_ns = soft_now_ns(),
        .active_ns = op->active_ns,
        .yielded_ns = op->yielded_ns,
        .busy_ns = atomic_load(&op->busy_ns),
        .blocks = op->total,
        .tenant = op->stream->tenant->id,
        .error = atomic_load(&op->stream->tenant->error),
    };
    if (!done)
        return;
    soft_unlock();
    done(user, &times);
    soft_lock();
}

void soft_stint_end(struct soft_op *op, struct soft_stint stint)
{
    bool parts_left = atomic_load_explicit(&op->claimed, memory_order_relaxed) < op->total;
    if (!parts_left)
        soft_unlist(op);
    if (--op->stints == 0) {
        uint64_t now_ns = soft_now_ns();
        op->active_ns += now_ns - op->active_since_ns;
        if (parts_left && op->yielded_ns == 0)
            op->yielded_ns = now_ns;
    }
    if (stint.error != CUDA_SUCCESS)
        soft_tenant_fail(op->stream->tenant, stint.error);
    if (atomic_fetch_add(&op->finished, stint.parts) + stint.parts < op->total)
        return;
    if (op->tag)
        report(op);
    soft_complete(op);
    soft_await_check();
}

void soft_run_inline(struct soft_op *op)
{
    op->stints = 1; /* nobody else knows it yet */
    op->start_ns = op->active_since_ns = soft_now_ns();
    struct soft_stint stint = {0, CUDA_SUCCESS};
    uint64_t part = 0;
    do {
        stint.error = run_part(NULL, op, part);
        stint.parts++;
    } while (stint.error == CUDA_SUCCESS && (part = atomic_fetch_add(&op->claimed, 1)) < op->total);
    soft_lock();
    soft_stint_end(op, stint);
    soft_unlock();
}
