#include "engine/device/driver_soft.h"

#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>

#include "engine/device/driver.h"
#include "engine/engine.h"
#include "engine/launch/times.h"
#include "engine/stats.h"
#include "tally/softgpu.h"

/* What softgpu exports beside cu*. */
struct soft {
    struct device_callbacks callbacks;
    CUresult (*configure)(uint32_t devices, uint32_t workers, uint64_t memory_bytes, int dry);
    CUresult (*set_part)(uint32_t device);
    CUresult (*set_output)(softgpu_output_fn output, void *user);
    CUresult (*set_launch_done)(softgpu_launch_done_fn done, void *user);
    void (*launch_tag)(uint64_t tag);
    CUresult (*tenant_create)(uint32_t *tenant);
    CUresult (*tenant_set)(uint32_t tenant);
    CUresult (*tenant_set_pinned)(uint32_t tenant, uint64_t base, uint64_t bytes);
    CUresult (*tenant_leave)(uint32_t tenant);
    CUresult (*tenant_set_urgent)(uint32_t tenant, int urgent);
    CUresult (*tenant_stop)(uint32_t tenant);
    CUresult (*tenant_destroy)(uint32_t tenant);
    CUresult (*tenant_region)(uint32_t tenant, uint64_t *base, uint64_t *bytes);
    CUresult (*tenant_fault)(uint32_t tenant, char *text, size_t bytes);
};

#define ENTRY(field, symbol) {symbol, offsetof(struct soft, field)}
static const struct {
    const char *symbol;
    size_t offset;
} entries[] = {
    ENTRY(configure, "softgpuConfigure"),        ENTRY(set_part, "softgpuSetPart"),
    ENTRY(set_output, "softgpuSetOutput"),       ENTRY(set_launch_done, "softgpuSetLaunchDone"),
    ENTRY(launch_tag, "softgpuLaunchTag"),       ENTRY(tenant_create, "softgpuTenantCreate"),
    ENTRY(tenant_set, "softgpuTenantSet"),       ENTRY(tenant_set_pinned, "softgpuTenantSetPinned"),
    ENTRY(tenant_leave, "softgpuTenantLeave"),   ENTRY(tenant_set_urgent, "softgpuTenantSetUrgent"),
    ENTRY(tenant_stop, "softgpuTenantStop"),     ENTRY(tenant_destroy, "softgpuTenantDestroy"),
    ENTRY(tenant_region, "softgpuTenantRegion"), ENTRY(tenant_fault, "softgpuTenantFault"),
};

/* Its callbacks may come at any time from now on: the table is never freed, as the library is never
 * closed. */
static const char *load(struct driver *driver, void *library)
{
    struct soft *soft = driver->own = calloc(1, sizeof *soft);
    if (!soft)
        return "memory left";
    for (size_t i = 0; i < sizeof entries / sizeof *entries; i++) {
        void *address = dlsym(library, entries[i].symbol);
        if (!address)
            return entries[i].symbol;
        memcpy((char *)soft + entries[i].offset, &address, sizeof address);
    }
    return NULL;
}

static const struct soft *of(const struct driver *driver) { return driver->own; }

static void on_launch_done(void *user, const struct softgpu_launch_times *times)
{
    const struct soft *soft = user;
    soft->callbacks.launch_done(soft->callbacks.user, &(struct launch_times){
                                                          .tag = times->tag,
                                                          .start_ns = times->start_ns,
                                                          .end_ns = times->end_ns,
                                                          .active_ns = times->active_ns,
                                                          .yielded_ns = times->yielded_ns,
                                                          .busy_ns = times->busy_ns,
                                                          .blocks = times->blocks,
                                                          .tenant = times->tenant,
                                                          .error = times->error,
                                                      });
}

static CUresult configure(struct driver *driver, const struct tally_engine_config *config,
                          const struct device_callbacks *callbacks)
{
    struct soft *soft = driver->own;
    soft->callbacks = *callbacks;
    CUresult result = soft->configure(config->soft_devices, config->soft_workers,
                                      config->soft_memory_bytes, (int)config->soft_dry);
    if (!result)
        result = soft->set_part(config->device);
    if (!result)
        result = soft->set_output(callbacks->output, callbacks->user);
    if (!result) /* with events too: launches have no tags then, but failures are told */
        result = soft->set_launch_done(on_launch_done, soft);
    return result;
}

static CUresult tenant_open(struct driver *driver, uint32_t index, bool high, uint32_t *tenant)
{
    CUresult result = of(driver)->tenant_create(tenant);
    if (result == CUDA_SUCCESS)
        of(driver)->tenant_set_urgent(*tenant, high);
    return result;
}

static void tenant_close(struct driver *driver, uint32_t tenant)
{
    of(driver)->tenant_destroy(tenant);
    /* The number may be given to another session now: this thread must not act in its name. */
    of(driver)->tenant_set(0);
}

static void tenant_enter(struct driver *driver, uint32_t tenant) { of(driver)->tenant_set(tenant); }
static void tenant_leave(struct driver *driver, uint32_t tenant)
{
    of(driver)->tenant_leave(tenant);
}
static bool tenant_stop(struct driver *driver, uint32_t tenant)
{
    return !of(driver)->tenant_stop(tenant);
}

static CUresult tenant_set_pinned(struct driver *driver, uint32_t tenant, uint64_t base,
                                  uint64_t bytes)
{
    return of(driver)->tenant_set_pinned(tenant, base, bytes);
}

static void tenant_region(struct driver *driver, uint32_t tenant, uint64_t *base, uint64_t *bytes)
{
    of(driver)->tenant_region(tenant, base, bytes);
}

static void tenant_fault(struct driver *driver, uint32_t tenant, char *text, size_t bytes)
{
    of(driver)->tenant_fault(tenant, text, bytes);
}

static void tag(struct driver *driver, uint64_t number) { of(driver)->launch_tag(number); }

/* Kernels use the mapping itself. */
static CUresult pin(struct driver *driver, void *base, size_t bytes, unsigned flags)
{
    return CUDA_SUCCESS;
}
static void unpin(struct driver *driver, void *base) {}

static uint32_t *word_at(CUdeviceptr address) { return (uint32_t *)(uintptr_t)address; }

static void store(struct driver *driver, CUdeviceptr word, uint32_t value)
{
    __atomic_store_n(word_at(word), value, __ATOMIC_RELEASE);
}

static CUresult write(struct driver *driver, CUdeviceptr to, const uint32_t *words, size_t count)
{
    for (size_t i = 0; i < count; i++)
        __atomic_store_n(word_at(to) + i, words[i], __ATOMIC_RELEASE);
    return CUDA_SUCCESS;
}

static CUresult clear(struct driver *driver, CUdeviceptr address, size_t bytes)
{
    return driver->cu.cuMemsetD8_v2(address, 0, bytes);
}

static CUresult copy(struct driver *driver, CUdeviceptr to, CUdeviceptr from, size_t bytes)
{
    memcpy((void *)(uintptr_t)to, (const void *)(uintptr_t)from, bytes);
    return CUDA_SUCCESS;
}

static CUresult settle(struct driver *driver) { return CUDA_SUCCESS; }

/* `ran` looks for itself. */
static CUresult fetch(struct driver *driver, CUdeviceptr flag, CUdeviceptr started,
                      uint32_t *fetched)
{
    return CUDA_SUCCESS;
}

static uint32_t ran(struct driver *driver, CUdeviceptr started, uint32_t fetched)
{
    return __atomic_load_n(word_at(started), __ATOMIC_ACQUIRE);
}

static CUresult look(struct driver *driver, CUdeviceptr started, uint32_t *now)
{
    *now = ran(driver, started, 0);
    return CUDA_SUCCESS;
}

static void lower(struct driver *driver, CUdeviceptr flag) { store(driver, flag, 0); }

const struct device_ops driver_soft_ops = {
    .name = "softgpu",
    .keeps_faults = true,
    .reports_ends = true,
    .tells_waits = true,
    .load = load,
    .configure = configure,
    .tenant_open = tenant_open,
    .tenant_close = tenant_close,
    .tenant_enter = tenant_enter,
    .tenant_leave = tenant_leave,
    .tenant_stop = tenant_stop,
    .tenant_set_pinned = tenant_set_pinned,
    .tenant_region = tenant_region,
    .tenant_fault = tenant_fault,
    .tag = tag,
    .pin = pin,
    .unpin = unpin,
    .store = store,
    .write = write,
    .clear = clear,
    .copy = copy,
    .settle = settle,
    .fetch = fetch,
    .ran = ran,
    .look = look,
    .lower = lower,
};
