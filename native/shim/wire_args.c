#include "wire_args.h"

#include <string.h>

#include "handles.h"
#include "streams.h"

CUresult shim_wire_stream(bool per_thread, CUstream stream, uint64_t *out)
{
    struct shim_stream_ref ref;
    CUresult status = shim_stream_resolve(per_thread, stream, &ref);
    if (status == CUDA_SUCCESS)
        *out = ref.wire;
    return status;
}

CUresult shim_wire_event(CUevent event, uint64_t *out)
{
    const struct shim_event *record = shim_event_get(event);
    if (record == NULL)
        return CUDA_ERROR_INVALID_HANDLE;
    *out = record->handle;
    return CUDA_SUCCESS;
}

CUresult shim_wire_function(CUfunction function, uint64_t *out)
{
    uint64_t handle = (uint64_t)(uintptr_t)function;
    if (shim_handle_get(TALLY_KIND_FUNCTION, handle) == NULL)
        return CUDA_ERROR_INVALID_HANDLE;
    *out = handle;
    return CUDA_SUCCESS;
}

CUresult shim_wire_launch_config(const CUlaunchConfig *config, struct tally_launch_config *out)
{
    if (config->numAttrs > TALLY_QUERY_ATTRIBUTES_MAX ||
        (config->numAttrs > 0 && config->attrs == NULL))
        return CUDA_ERROR_INVALID_VALUE;
    out->grid[0] = config->gridDimX;
    out->grid[1] = config->gridDimY;
    out->grid[2] = config->gridDimZ;
    out->block[0] = config->blockDimX;
    out->block[1] = config->blockDimY;
    out->block[2] = config->blockDimZ;
    out->dynamic_shared_bytes = config->sharedMemBytes;
    out->attribute_count = config->numAttrs;
    if (config->numAttrs > 0)
        memcpy(out->attributes, config->attrs, config->numAttrs * sizeof config->attrs[0]);
    return shim_wire_stream(false, config->hStream, &out->stream);
}
