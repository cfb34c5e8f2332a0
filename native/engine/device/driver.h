/* A driver library, loaded: the functions of libcuda that any has, and a table of what each does in
 * its own way. */
#ifndef TALLY_ENGINE_DRIVER_H
#define TALLY_ENGINE_DRIVER_H

#include <stdbool.h>
#include <stddef.h>

#include "engine/launch/times.h"
#include "tally/generated/driver_table.h"

struct driver;
struct stores;
struct tally_engine_config;

/* What a driver calls back, on threads of its own. */
struct device_callbacks {
    void *user;
    void (*output)(void *user, uint32_t tenant, int fd, const char *text, size_t bytes);
    launch_done_fn *launch_done; /* tag 0: the tenant has failed */
};

/* What drivers do differently: driver_cuda.c, driver_soft.c. A *tenant* is a session as the driver
 * knows it. */
struct device_ops {
    const char *name;
    bool keeps_faults; /* a fault costs its session alone; else the context, and so everybody */
    bool reports_ends; /* of starts, by their tags, without being asked */
    bool tells_waits;  /* its start times say whether a start had to wait */
    bool free_waits;   /* cuMemFree waits for whatever runs */
    bool store_calls;  /* `store` is a call of the driver's, which may block (stores.h) */

    /* Finds what the library exports for Tally alone; the first symbol that is missing, or NULL. */
    const char *(*load)(struct driver *driver, void *library);
    /* Before cuInit. */
    CUresult (*configure)(struct driver *driver, const struct tally_engine_config *config,
                          const struct device_callbacks *callbacks);

    /* index: the session's place among all; *tenant: never 0. */
    CUresult (*tenant_open)(struct driver *driver, uint32_t index, bool high, uint32_t *tenant);
    void (*tenant_close)(struct driver *driver, uint32_t tenant);
    /* The calling thread acts in its name from now on; 0: in nobody's. */
    void (*tenant_enter)(struct driver *driver, uint32_t tenant);
    /* The session ends: a thread that is in the driver in its name comes back soon. Any thread. */
    void (*tenant_leave)(struct driver *driver, uint32_t tenant);
    /* Drops what is queued, interrupts what runs. False: it cannot, so all that has to be waited
     * for. */
    bool (*tenant_stop)(struct driver *driver, uint32_t tenant);
    CUresult (*tenant_set_pinned)(struct driver *driver, uint32_t tenant, uint64_t base,
                                  uint64_t bytes);
    /* Where its device memory lies; left alone where that is not known beforehand. */
    void (*tenant_region)(struct driver *driver, uint32_t tenant, uint64_t *base, uint64_t *bytes);
    /* Which kernel faulted, and where; left alone where the driver does not say. */
    void (*tenant_fault)(struct driver *driver, uint32_t tenant, char *text, size_t bytes);

    /* The tag of what this thread launches next, where ends are reported; 0: none. */
    void (*tag)(struct driver *driver, uint64_t tag);

    /* Host memory for kernels, at its own address. */
    CUresult (*pin)(struct driver *driver, void *base, size_t bytes, unsigned flags);
    void (*unpin)(struct driver *driver, void *base);

    /* Words of ours in device memory, in the order of the calls. `store` is called by
     * stores.c alone; `write` is there on return; `clear` and `copy` are, once `settle`
     * returns. */
    void (*store)(struct driver *driver, CUdeviceptr word, uint32_t value);
    CUresult (*write)(struct driver *driver, CUdeviceptr to, const uint32_t *words, size_t count);
    CUresult (*clear)(struct driver *driver, CUdeviceptr address, size_t bytes);
    CUresult (*copy)(struct driver *driver, CUdeviceptr to, CUdeviceptr from, size_t bytes);
    CUresult (*settle)(struct driver *driver);
    /* A guarded start has ended: brings its word of blocks that ran, for `ran`, and lowers its
     * flag. */
    CUresult (*fetch)(struct driver *driver, CUdeviceptr flag, CUdeviceptr started,
                      uint32_t *fetched);
    uint32_t (*ran)(struct driver *driver, CUdeviceptr started, uint32_t fetched);
    /* The same word while the start runs; no lock held. */
    CUresult (*look)(struct driver *driver, CUdeviceptr started, uint32_t *ran);
    /* The flag, without waiting; where `fetch` has done it, nothing. */
    void (*lower)(struct driver *driver, CUdeviceptr flag);
};

struct driver {
    struct tally_driver cu;
    const struct device_ops *ops;
    void *own; /* the ops' */
    CUdevice device;
    CUcontext context;
    CUstream urgent;       /* where words of ours are written, beside all work */
    struct stores *stores; /* of a driver whose stores are calls; else NULL */
};

/* False and a reason if the library cannot be loaded or lacks what the engine cannot do without.
 * The library stays loaded for the life of the process: drivers do not survive dlclose. */
bool driver_load(struct driver *driver, const char *path, const struct device_ops *ops, char *error,
                 size_t error_bytes);

/* "CUDA_ERROR_NO_DEVICE (100)" and the like, for logs. */
const char *driver_error_text(const struct driver *driver, CUresult result, char *out,
                              size_t bytes);

/* After these the driver answers every call with the same error until the context (softgpu: the
 * tenant) is gone. */
static inline bool driver_error_is_sticky(CUresult result)
{
    switch (result) {
    case CUDA_ERROR_ECC_UNCORRECTABLE:
    case CUDA_ERROR_NVLINK_UNCORRECTABLE:
    case CUDA_ERROR_ILLEGAL_ADDRESS:
    case CUDA_ERROR_LAUNCH_TIMEOUT:
    case CUDA_ERROR_CONTEXT_IS_DESTROYED:
    case CUDA_ERROR_ASSERT:
    case CUDA_ERROR_HARDWARE_STACK_ERROR:
    case CUDA_ERROR_ILLEGAL_INSTRUCTION:
    case CUDA_ERROR_MISALIGNED_ADDRESS:
    case CUDA_ERROR_INVALID_ADDRESS_SPACE:
    case CUDA_ERROR_INVALID_PC:
    case CUDA_ERROR_LAUNCH_FAILED:
    case CUDA_ERROR_TENSOR_MEMORY_LEAK:
        return true;
    default:
        return false;
    }
}

#endif
