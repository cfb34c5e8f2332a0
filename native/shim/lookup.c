/* Versioned look-up. The library never opens itself by name: that would make a second copy of it.
 */
#include "lookup.h"

#include <stddef.h>
#include <string.h>

#include "generated/custom.h"

/* Index of the first row whose base is not less than `name`. */
static uint32_t lower_bound(const char *name)
{
    uint32_t low = 0, high = shim_symbol_count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (strcmp(shim_symbols[middle].base, name) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* The newest variant that the requested version knows; with per_thread, the per-thread variant
 * where the function has one. NULL with *known telling whether only the version was too old. */
static const struct shim_symbol *find(const char *name, int version, int per_thread, int *known)
{
    const struct shim_symbol *best = NULL;
    *known = 0;
    for (uint32_t i = lower_bound(name); i < shim_symbol_count; i++) {
        const struct shim_symbol *row = &shim_symbols[i];
        if (strcmp(row->base, name) != 0)
            break;
        *known = 1;
        if (row->introduced <= version && row->per_thread <= per_thread)
            best = row; /* rows come legacy first, then by version: the last that fits wins */
    }
    return best;
}

CUresult shim_cuGetProcAddress_v2(const char *symbol, void **pfn, int cudaVersion, cuuint64_t flags,
                                  CUdriverProcAddressQueryResult *symbolStatus)
{
    const cuuint64_t known_flags =
        CU_GET_PROC_ADDRESS_LEGACY_STREAM | CU_GET_PROC_ADDRESS_PER_THREAD_DEFAULT_STREAM;
    if (symbol == NULL || pfn == NULL || (flags & ~known_flags) != 0)
        return CUDA_ERROR_INVALID_VALUE;
    int per_thread = (flags & CU_GET_PROC_ADDRESS_PER_THREAD_DEFAULT_STREAM) != 0;
    int known;
    const struct shim_symbol *found = find(symbol, cudaVersion, per_thread, &known);
    *pfn = found != NULL ? (void *)(uintptr_t)found->function : NULL;
    if (symbolStatus != NULL)
        *symbolStatus = found != NULL ? CU_GET_PROC_ADDRESS_SUCCESS
                        : known       ? CU_GET_PROC_ADDRESS_VERSION_NOT_SUFFICIENT
                                      : CU_GET_PROC_ADDRESS_SYMBOL_NOT_FOUND;
    return found != NULL ? CUDA_SUCCESS : CUDA_ERROR_NOT_FOUND;
}

CUresult shim_cuGetProcAddress(const char *symbol, void **pfn, int cudaVersion, cuuint64_t flags)
{
    return shim_cuGetProcAddress_v2(symbol, pfn, cudaVersion, flags, NULL);
}
