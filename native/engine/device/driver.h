/* A driver library, loaded: the machine's libcuda.so.1 or softgpu behind the same table. */
#ifndef TALLY_ENGINE_DRIVER_H
#define TALLY_ENGINE_DRIVER_H

#include <stdbool.h>
#include <stddef.h>

#include "tally/generated/driver_table.h"
#include "tally/softgpu.h"

/* What softgpu exports beside cu*. All NULL with a real driver. */
struct driver_soft {
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

struct driver {
    struct tally_driver cu;
    struct driver_soft soft;
    bool is_soft;
};

/* False and a reason if the library cannot be loaded or lacks what the engine cannot do without. The
 * library stays loaded for the life of the process: drivers do not survive dlclose. */
bool driver_load(struct driver *driver, const char *path, bool soft, char *error, size_t error_bytes);

/* "CUDA_ERROR_NO_DEVICE (100)" and the like, for logs. */
const char *driver_error_text(const struct driver *driver, CUresult result, char *out, size_t bytes);

/* After these the driver answers every call with the same error until the context (softgpu: the tenant)
 * is gone. */
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
