/* Configuration, start-up, and the check that every API call begins with. */
#include "soft.h"

#include <errno.h>
#include <time.h>
#include <unistd.h>

/* Leaves room for guard pages. */
#define DEVICE_MEMORY_MAX (TALLY_TENANT_BYTES - (TALLY_TENANT_BYTES >> 3))

struct soft_state soft = {
    .lock = PTHREAD_ADAPTIVE_MUTEX_INITIALIZER_NP,
    .account_lock = PTHREAD_MUTEX_INITIALIZER,
    .arena_base = TALLY_ARENA_BASE(0u),
};

static uint32_t configured_devices, configured_workers;
static uint64_t configured_memory;
static int configured_dry;

void soft_lock(void) { pthread_mutex_lock(&soft.lock); }

void soft_unlock(void) { pthread_mutex_unlock(&soft.lock); }

uint64_t soft_now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* Threads do not survive a fork, so neither does the device: as with the real driver, the child's
 * calls fail. */
static void after_fork(void) { soft.forked = true; }

SOFT_API CUresult softgpuConfigure(uint32_t devices, uint32_t workers, uint64_t memory_bytes,
                                   int dry)
{
    if (devices > SOFT_DEVICES_MAX || workers > SOFT_WORKERS_MAX ||
        memory_bytes > DEVICE_MEMORY_MAX)
        return CUDA_ERROR_INVALID_VALUE;
    soft_lock();
    CUresult result = soft.initialized ? CUDA_ERROR_NOT_SUPPORTED : CUDA_SUCCESS;
    if (result == CUDA_SUCCESS) {
        configured_devices = devices;
        configured_workers = workers;
        configured_memory = memory_bytes;
        configured_dry = dry;
    }
    soft_unlock();
    return result;
}

SOFT_API CUresult softgpuSetPart(uint32_t device)
{
    soft_lock();
    CUresult result = soft.initialized ? CUDA_ERROR_NOT_SUPPORTED : CUDA_SUCCESS;
    if (result == CUDA_SUCCESS)
        soft.arena_base = TALLY_ARENA_BASE(device);
    soft_unlock();
    return result;
}

SOFT_API CUresult softgpuSetCompiler(softgpu_compile_fn compile, void *user)
{
    soft_lock();
    soft.compile = compile;
    soft.compile_user = user;
    soft_unlock();
    return CUDA_SUCCESS;
}

SOFT_API CUresult softgpuSetRelease(softgpu_release_fn release, void *user)
{
    soft_lock();
    soft.release = release;
    soft.release_user = user;
    soft_unlock();
    return CUDA_SUCCESS;
}

SOFT_API CUresult softgpuSetDecompressor(softgpu_decompress_fn decompress, void *user)
{
    soft_lock();
    soft.decompress = decompress;
    soft.decompress_user = user;
    soft_unlock();
    return CUDA_SUCCESS;
}

static void open_device(struct soft_device *device, uint32_t index)
{
    device->index = index;
    atomic_store(&device->top, INT32_MAX);
    device->worker_count = soft.worker_count;
    pthread_cond_init(&device->work, NULL);
    device->primary.device = device;
    device->primary.primary = true;
    device->primary.id = ++soft.next_id;
}

static uint64_t default_memory(void)
{
    uint64_t bytes = (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE) / 4;
    bytes &= ~((1ull << 20) - 1);
    return bytes < DEVICE_MEMORY_MAX ? bytes : DEVICE_MEMORY_MAX;
}

static CUresult start(void)
{
    long cpus = sysconf(_SC_NPROCESSORS_ONLN);
    if (cpus < 1)
        cpus = 1;
    soft.device_count = configured_devices ? configured_devices : 1;
    soft.worker_count = configured_workers ? configured_workers : (uint32_t)cpus;
    if (soft.worker_count > SOFT_WORKERS_MAX)
        soft.worker_count = SOFT_WORKERS_MAX;
    soft.memory_bytes = configured_memory ? configured_memory : default_memory();
    soft.dry = configured_dry != 0;
    soft.lookers_max = (uint32_t)cpus / 2;
    CUresult result = soft_memory_reserve();
    if (result != CUDA_SUCCESS)
        return result;
    for (uint32_t i = 0; i < soft.device_count; i++)
        open_device(&soft.devices[i], i);
    if ((result = soft_memory_open(&soft.tenants[0])) != CUDA_SUCCESS)
        return result;
    soft.tenants[0].taken = true;
    __atomic_store_n(&soft.tenants[0].live, true, __ATOMIC_RELEASE);
    pthread_atfork(NULL, NULL, after_fork);
    __atomic_store_n(&soft.initialized, true, __ATOMIC_RELEASE);
    return CUDA_SUCCESS;
}

SOFT_API CUresult cuInit(unsigned int flags)
{
    if (flags)
        return CUDA_ERROR_INVALID_VALUE;
    if (soft.forked)
        return CUDA_ERROR_NOT_INITIALIZED;
    soft_lock();
    CUresult result = soft.initialized ? CUDA_SUCCESS : start();
    soft_unlock();
    return result;
}

CUresult soft_enter_tenant(struct soft_call *call)
{
    *call = (struct soft_call){0};
    if (soft.forked || !__atomic_load_n(&soft.initialized, __ATOMIC_ACQUIRE))
        return CUDA_ERROR_NOT_INITIALIZED;
    call->tenant = soft_tenant_current();
    if (!call->tenant)
        return CUDA_ERROR_CONTEXT_IS_DESTROYED;
    call->generation = __atomic_load_n(&call->tenant->generation, __ATOMIC_RELAXED);
    return (CUresult)atomic_load_explicit(&call->tenant->error, memory_order_relaxed);
}

CUresult soft_enter(struct soft_call *call)
{
    CUresult result = soft_enter_tenant(call);
    if (result != CUDA_SUCCESS)
        return result;
    call->context = soft_context_current();
    if (!call->context)
        return CUDA_ERROR_INVALID_CONTEXT;
    if (!__atomic_load_n(&call->context->retained, __ATOMIC_RELAXED))
        return CUDA_ERROR_CONTEXT_IS_DESTROYED;
    call->device = call->context->device;
    return CUDA_SUCCESS;
}
