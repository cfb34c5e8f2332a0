/* softgpu, whose loading of rewritten kernels a test holds up or refuses, and that tells what it was asked: a
 * driver for the executor. TALLY_TEST_GATE is a folder: while its file `loading` is there no module that holds
 * rewritten kernels is loaded (`loading.waits` says that one would be); so it is with `looking` and variables of
 * modules; with `refusing` none with rewritten kernels is taken. What was
 * loaded (the first kernel's name), unloaded and set of which kernel is appended to `told`.
 *
 * Built as a shared library that depends on softgpu: what is not defined here is found there. */
#include <cuda.h>
#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define EXPORT __attribute__((visibility("default")))

static const char *in_gate(char path[512], const char *name)
{
    const char *folder = getenv("TALLY_TEST_GATE");
    snprintf(path, 512, "%s/%s", folder ? folder : "", name);
    return path;
}

static void tell(const char *text)
{
    char path[512];
    int fd = open(in_gate(path, "told"), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (fd < 0 || write(fd, text, strlen(text)) < 0) /* one write is one line, whoever else writes */
        abort();
    close(fd);
}

static void wait_while_held(const char *name)
{
    char path[512], waits[512], marker[32];
    snprintf(marker, sizeof marker, "%s.waits", name);
    in_gate(path, name);
    in_gate(waits, marker);
    while (access(path, F_OK) == 0) {
        int fd = open(waits, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
        if (fd >= 0)
            close(fd);
        usleep(2000);
    }
}

#define LOADED_MAX 256
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static CUmodule loaded[LOADED_MAX];

/* Whether `from` was there, and is `to` now. */
static bool change(CUmodule from, CUmodule to)
{
    bool found = false;
    pthread_mutex_lock(&lock);
    for (int i = 0; i < LOADED_MAX && !found; i++)
        if ((found = loaded[i] == from))
            loaded[i] = to;
    pthread_mutex_unlock(&lock);
    return found;
}

#define NEXT(symbol) (__typeof__(&symbol)) dlsym(RTLD_NEXT, #symbol)

EXPORT CUresult cuModuleLoadDataEx(CUmodule *module, const void *image, unsigned count, CUjit_option *options,
                                   void **values)
{
    char path[512], line[512], name[256] = "-";
    const char *text = image;
    const char *entry = strstr(text, ".entry "); /* other images than PTX have a NUL soon */
    bool forms = strstr(text, "__tallyguard") != NULL;
    if (entry)
        sscanf(entry, ".entry %255[^ (\n]", name);
    if (forms)
        wait_while_held("loading");
    CUresult result = CUDA_ERROR_INVALID_PTX;
    if (!forms || access(in_gate(path, "refusing"), F_OK) != 0)
        result = (NEXT(cuModuleLoadDataEx))(module, image, count, options, values);
    if (result == CUDA_SUCCESS && !change(NULL, *module))
        abort();
    snprintf(line, sizeof line, "load %s%s\n", name, result == CUDA_SUCCESS ? "" : " failed");
    tell(line);
    return result;
}

EXPORT CUresult cuModuleGetGlobal_v2(CUdeviceptr *address, size_t *bytes, CUmodule module, const char *name)
{
    wait_while_held("looking");
    return (NEXT(cuModuleGetGlobal_v2))(address, bytes, module, name);
}

EXPORT CUresult cuModuleUnload(CUmodule module)
{
    tell(change(module, NULL) ? "unload\n" : "unload failed: there is no such module\n");
    return (NEXT(cuModuleUnload))(module);
}

EXPORT CUresult cuFuncSetAttribute(CUfunction function, CUfunction_attribute attribute, int value)
{
    char line[512];
    const char *name = "?";
    CUresult result = (NEXT(cuFuncSetAttribute))(function, attribute, value);
    cuFuncGetName(&name, function);
    snprintf(line, sizeof line, "attribute %d of %s is %d\n", (int)attribute, name, value);
    tell(line);
    return result;
}

EXPORT CUresult cuFuncSetCacheConfig(CUfunction function, CUfunc_cache config)
{
    char line[512];
    const char *name = "?";
    CUresult result = (NEXT(cuFuncSetCacheConfig))(function, config);
    cuFuncGetName(&name, function);
    snprintf(line, sizeof line, "cache of %s is %d\n", name, (int)config);
    tell(line);
    return result;
}
