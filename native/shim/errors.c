#include "errors.h"

#include <stddef.h>

#include "generated/custom.h"

static const struct shim_result *find(CUresult value)
{
    uint32_t low = 0, high = shim_result_count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (shim_results[middle].value < (int)value)
            low = middle + 1;
        else
            high = middle;
    }
    return low < shim_result_count && shim_results[low].value == (int)value ? &shim_results[low]
                                                                            : NULL;
}

CUresult shim_cuGetErrorName(CUresult error, const char **pStr)
{
    if (pStr == NULL)
        return CUDA_ERROR_INVALID_VALUE;
    const struct shim_result *result = find(error);
    *pStr = result != NULL ? result->name : NULL;
    return result != NULL ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

CUresult shim_cuGetErrorString(CUresult error, const char **pStr)
{
    if (pStr == NULL)
        return CUDA_ERROR_INVALID_VALUE;
    const struct shim_result *result = find(error);
    *pStr = result != NULL ? result->text : NULL;
    return result != NULL ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}
