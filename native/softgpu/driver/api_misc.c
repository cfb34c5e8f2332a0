/* Entry points that are about the API itself. */
#include <dlfcn.h>
#include <stdio.h>
#include <string.h>

#include "soft.h"

/* Names whose newest version depends on the version that the caller was built for; others take _v2
 * or none. */
static const struct {
    const char *name;
    int since;
    const char *symbol;
} versions[] = {
    {"cuGetProcAddress", 0, "cuGetProcAddress_v2"},     {"cuCtxCreate", 12050, "cuCtxCreate_v4"},
    {"cuCtxCreate", 11040, "cuCtxCreate_v3"},           {"cuCtxCreate", 0, "cuCtxCreate_v2"},
    {"cuCtxSynchronize", 13000, "cuCtxSynchronize_v2"}, {"cuCtxSynchronize", 0, "cuCtxSynchronize"},
    {"cuCtxGetDevice", 13000, "cuCtxGetDevice_v2"},     {"cuCtxGetDevice", 0, "cuCtxGetDevice"},
    {"cuStreamGetCtx", 12050, "cuStreamGetCtx_v2"},     {"cuStreamGetCtx", 0, "cuStreamGetCtx"},
};

static const char *choose(const char *name, int version)
{
    for (size_t i = 0; i < sizeof versions / sizeof *versions; i++)
        if (strcmp(versions[i].name, name) == 0 && version >= versions[i].since)
            return versions[i].symbol;
    return NULL;
}

static void *self; /* this library, or the program that it is linked into */

static void find_self(void)
{
    Dl_info info;
    if (dladdr((void *)find_self, &info))
        self = dlopen(info.dli_fname, RTLD_NOW | RTLD_NOLOAD);
    if (!self)
        self = dlopen(NULL, RTLD_NOW);
}

SOFT_API CUresult cuGetProcAddress_v2(const char *name, void **function, int version,
                                      cuuint64_t flags, CUdriverProcAddressQueryResult *status)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    char versioned[128];
    if (!name || !function)
        return CUDA_ERROR_INVALID_VALUE;
    pthread_once(&once, find_self);
    *function = NULL;
    const char *symbol = choose(name, version);
    if (!symbol && snprintf(versioned, sizeof versioned, "%s_v2", name) < (int)sizeof versioned)
        symbol = versioned;
    if (strncmp(name, "cu", 2) == 0) { /* and not whatever else the process has */
        *function = symbol ? dlsym(self, symbol) : NULL;
        if (!*function)
            *function = dlsym(self, name);
    }
    if (status)
        *status = *function ? CU_GET_PROC_ADDRESS_SUCCESS : CU_GET_PROC_ADDRESS_SYMBOL_NOT_FOUND;
    return *function ? CUDA_SUCCESS : CUDA_ERROR_NOT_FOUND;
}

SOFT_API CUresult cuGetProcAddress(const char *name, void **function, int version, cuuint64_t flags)
{
    return cuGetProcAddress_v2(name, function, version, flags, NULL);
}

/* The private tables are the shim's business. */
SOFT_API CUresult cuGetExportTable(const void **table, const CUuuid *id)
{
    if (!table || !id)
        return CUDA_ERROR_INVALID_VALUE;
    *table = NULL;
    return CUDA_ERROR_NOT_FOUND;
}

SOFT_API CUresult cuProfilerStart(void) { return CUDA_SUCCESS; }

SOFT_API CUresult cuProfilerStop(void) { return CUDA_SUCCESS; }
