/* What cuBLAS, cuFFT and newer libcudarts ask of the tools tables. */
#include <stdlib.h>

#include "context.h"
#include "generated/custom.h"
#include "streams.h"
#include "tables.h"

CUresult shim_tools_context_id(CUcontext context, uint64_t *id)
{
    unsigned long long value;
    CUresult status = id != NULL ? shim_cuCtxGetId(context, &value) : CUDA_ERROR_INVALID_VALUE;
    if (status == CUDA_SUCCESS)
        *id = value;
    return status;
}

/* The object for the stream that the parameter means at present: the stream's own handle. */
CUresult shim_tools_stream_object(CUcontext context, CUstream stream, void **object,
                                  uint8_t per_thread)
{
    struct shim_stream_ref ref;
    if (object == NULL)
        return CUDA_ERROR_INVALID_VALUE;
    CUresult status = shim_stream_resolve(per_thread != 0, stream, &ref);
    if (status == CUDA_SUCCESS)
        *object = (void *)(uintptr_t)ref.wire;
    return status;
}

CUresult shim_tools_stream_id(CUcontext context, void *object, uint64_t *id)
{
    struct shim_stream_ref ref;
    if (object == NULL || id == NULL)
        return CUDA_ERROR_INVALID_VALUE;
    CUresult status = shim_stream_resolve(false, (CUstream)object, &ref);
    if (status == CUDA_SUCCESS)
        *id = shim_stream_id(&ref);
    return status;
}

uint32_t shim_tools_each_function(CUcontext context, CUmodule module,
                                  void (*visit)(void *user, CUfunction function, void *owner),
                                  void *user)
{
    unsigned int count = 0;
    if (visit == NULL || shim_cuModuleGetFunctionCount(&count, module) != CUDA_SUCCESS ||
        count == 0)
        return 0;
    CUfunction *functions = calloc(count, sizeof *functions);
    if (functions == NULL ||
        shim_cuModuleEnumerateFunctions(functions, count, module) != CUDA_SUCCESS)
        count = 0;
    for (unsigned int i = 0; i < count; i++)
        visit(user, functions[i], module);
    free(functions);
    return count;
}
