/* Tenants: who owns what, and how all of it ends. */
#include "soft.h"

#include <errno.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "heap.h"
#include "module.h"
#include "queue.h"

#define INTERRUPT_AGAIN_NS 5000000

static _Thread_local uint32_t current_tenant;

struct soft_tenant *soft_tenant_current(void)
{
    struct soft_tenant *tenant = &soft.tenants[current_tenant];
    return __atomic_load_n(&tenant->live, __ATOMIC_ACQUIRE) ? tenant : NULL;
}

static struct soft_tenant *tenant_get(uint32_t id)
{
    if (id >= TALLY_TENANTS_MAX || !__atomic_load_n(&soft.tenants[id].live, __ATOMIC_ACQUIRE))
        return NULL;
    return &soft.tenants[id];
}

SOFT_API CUresult softgpuTenantCreate(uint32_t *tenant_id)
{
    if (!tenant_id)
        return CUDA_ERROR_INVALID_VALUE;
    CUresult result = CUDA_ERROR_OUT_OF_MEMORY;
    soft_lock();
    if (!soft.initialized || soft.forked) {
        soft_unlock();
        return CUDA_ERROR_NOT_INITIALIZED;
    }
    for (uint32_t id = 1; id < TALLY_TENANTS_MAX; id++) {
        struct soft_tenant *tenant = &soft.tenants[id];
        if (tenant->taken)
            continue;
        tenant->id = id;
        result = soft_memory_open(tenant);
        if (result == CUDA_SUCCESS) {
            atomic_store(&tenant->error, CUDA_SUCCESS);
            atomic_store(&tenant->leaving, false);
            atomic_store(&tenant->urgent, false);
            soft_blame_clear(tenant);
            atomic_store(&tenant->busy_ns, 0);
            atomic_store(&tenant->blocks, 0);
            tenant->pinned_base = tenant->pinned_bytes = 0;
            tenant->taken = true;
            __atomic_fetch_add(&tenant->generation, 1, __ATOMIC_RELAXED);
            __atomic_store_n(&tenant->live, true, __ATOMIC_RELEASE);
            *tenant_id = id;
        }
        break;
    }
    soft_unlock();
    return result;
}

SOFT_API CUresult softgpuTenantSet(uint32_t id)
{
    if (id != 0 && !tenant_get(id))
        return CUDA_ERROR_INVALID_VALUE;
    current_tenant = id;
    return CUDA_SUCCESS;
}

SOFT_API CUresult softgpuTenantRegion(uint32_t id, uint64_t *base, uint64_t *bytes)
{
    struct soft_tenant *tenant = tenant_get(id);
    if (!tenant || !base || !bytes)
        return CUDA_ERROR_INVALID_VALUE;
    *base = tenant->region_base;
    *bytes = tenant->region_bytes;
    return CUDA_SUCCESS;
}

SOFT_API CUresult softgpuTenantSetPinned(uint32_t id, uint64_t base, uint64_t bytes)
{
    struct soft_tenant *tenant = tenant_get(id);
    if (!tenant || base + bytes < base)
        return CUDA_ERROR_INVALID_VALUE;
    soft_lock();
    CUresult result = tenant->inflight ? CUDA_ERROR_NOT_READY : CUDA_SUCCESS;
    if (result == CUDA_SUCCESS) {
        tenant->pinned_base = base;
        tenant->pinned_bytes = bytes;
    }
    soft_unlock();
    return result;
}

SOFT_API CUresult softgpuTenantUsage(uint32_t id, uint64_t *busy_ns, uint64_t *blocks)
{
    struct soft_tenant *tenant = tenant_get(id);
    if (!tenant || !busy_ns || !blocks)
        return CUDA_ERROR_INVALID_VALUE;
    *busy_ns = atomic_load_explicit(&tenant->busy_ns, memory_order_relaxed);
    *blocks = atomic_load_explicit(&tenant->blocks, memory_order_relaxed);
    return CUDA_SUCCESS;
}

void soft_tenant_fail(struct soft_tenant *tenant, CUresult error)
{
    int well = CUDA_SUCCESS;
    bool first = atomic_compare_exchange_strong(&tenant->error, &well, (int)error);
    soft_drop(tenant);
    soft_interrupt_tenant(tenant);
    if (first && soft.launch_done)
        soft.launch_done(soft.launch_done_user, &(struct softgpu_launch_times){
                                                    .tenant = tenant->id, .error = (int32_t)error});
}

/* A worker may have taken a block and not yet begun it when it was interrupted: so again, until all
 * stopped. */
static void stop_work(struct soft_tenant *tenant)
{
    soft_tenant_fail(tenant, CUDA_ERROR_CONTEXT_IS_DESTROYED);
    while (tenant->inflight) {
        struct timespec until;
        clock_gettime(CLOCK_MONOTONIC, &until);
        until.tv_nsec += INTERRUPT_AGAIN_NS;
        if (until.tv_nsec >= 1000000000) {
            until.tv_sec++;
            until.tv_nsec -= 1000000000;
        }
        pthread_cond_clockwait(&tenant->idle, &soft.lock, CLOCK_MONOTONIC, &until);
        soft_interrupt_tenant(tenant);
    }
}

static void free_objects(struct soft_tenant *tenant)
{
    uint32_t cursor = 0;
    for (struct soft_object *object; (object = soft_handle_next(tenant->id, &cursor));) {
        soft_handle_remove(object);
        switch (object->kind) {
        case SOFT_STREAM:
            soft_stream_put((struct soft_stream *)object);
            break;
        case SOFT_EVENT:
            soft_event_put((struct soft_event *)object);
            break;
        case SOFT_FUNCTION:
            break; /* its module's */
        case SOFT_LIBRARY:
            break; /* its module's */
        case SOFT_MODULE:
            soft_module_free((struct soft_module *)object);
            break;
        default:
            break;
        }
    }
    for (uint32_t i = 0; i < SOFT_DEVICES_MAX; i++) {
        if (tenant->legacy[i])
            soft_stream_put(tenant->legacy[i]);
        tenant->legacy[i] = NULL;
    }
}

void soft_tenant_clear(struct soft_tenant *tenant)
{
    soft_lock();
    stop_work(tenant);
    free_objects(tenant);
    soft_unlock();
    soft_module_release();
    soft_memory_clear(tenant);
    soft_blame_clear(tenant);
    soft_heap_forget(tenant);
    atomic_store(&tenant->error, CUDA_SUCCESS);
}

SOFT_API CUresult softgpuTenantLeave(uint32_t id)
{
    struct soft_tenant *tenant = tenant_get(id);
    if (!tenant)
        return CUDA_ERROR_INVALID_VALUE;
    atomic_store(&tenant->leaving, true);
    return CUDA_SUCCESS;
}

SOFT_API int softgpuLeaving(void) { return atomic_load(&soft.tenants[current_tenant].leaving); }

SOFT_API CUresult softgpuTenantSetUrgent(uint32_t id, int urgent)
{
    struct soft_tenant *tenant = tenant_get(id);
    if (!tenant)
        return CUDA_ERROR_INVALID_VALUE;
    atomic_store(&tenant->urgent, urgent != 0);
    return CUDA_SUCCESS;
}

SOFT_API int softgpuUrgent(void) { return atomic_load(&soft.tenants[current_tenant].urgent); }

SOFT_API CUresult softgpuTenantStop(uint32_t id)
{
    struct soft_tenant *tenant = tenant_get(id);
    if (!tenant)
        return CUDA_ERROR_INVALID_VALUE;
    soft_lock();
    stop_work(tenant);
    soft_unlock();
    return CUDA_SUCCESS;
}

SOFT_API CUresult softgpuTenantDestroy(uint32_t id)
{
    if (id == 0 || id >= TALLY_TENANTS_MAX)
        return CUDA_ERROR_INVALID_VALUE;
    struct soft_tenant *tenant = &soft.tenants[id];
    /* Not live first: no call gets in while things go away. */
    if (!__atomic_exchange_n(&tenant->live, false, __ATOMIC_ACQ_REL))
        return CUDA_ERROR_INVALID_VALUE;
    soft_tenant_clear(tenant);
    soft_lock();
    tenant->taken = false;
    soft_unlock();
    return CUDA_SUCCESS;
}

SOFT_API CUresult softgpuSetOutput(softgpu_output_fn output, void *user)
{
    soft_lock();
    soft.output = output;
    soft.output_user = user;
    soft_unlock();
    return CUDA_SUCCESS;
}

SOFT_API CUresult softgpuSetLaunchDone(softgpu_launch_done_fn done, void *user)
{
    soft_lock();
    soft.launch_done = done;
    soft.launch_done_user = user;
    soft_unlock();
    return CUDA_SUCCESS;
}

void soft_emit(uint32_t id, int fd, const char *text, size_t bytes)
{
    struct soft_tenant *tenant = &soft.tenants[id];
    soft_lock();
    softgpu_output_fn output = soft.output;
    void *user = soft.output_user;
    soft_unlock();
    pthread_mutex_lock(&tenant->output_lock);
    if (output) {
        output(user, id, fd, text, bytes);
    } else {
        while (bytes) {
            ssize_t written = write(fd, text, bytes);
            if (written < 0 && errno == EINTR)
                continue;
            if (written <= 0)
                break;
            text += written;
            bytes -= (size_t)written;
        }
    }
    pthread_mutex_unlock(&tenant->output_lock);
}
