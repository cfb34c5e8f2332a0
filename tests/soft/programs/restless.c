/* softgpu, but no launch runs in one go: a driver for the executor whose kernels are stopped and resumed at
 * random blocks, or run as random slices, whatever program made the launch. What a program computes must not
 * show that.
 *
 * The rewritten forms come from the test: RESTLESS_SOCKET is where every module image is sent and the PTX
 * to load in its place, or beside it if it begins with ALONE, is read (each with its length in 8 bytes; no PTX:
 * the image as it is). So a test sees
 * all code, and may answer with broken forms. RESTLESS_COUNTS is a file of struct counts that the test maps;
 * RESTLESS_SEED draws the stops. Launches return when they are done.
 *
 * Built as a shared library that depends on softgpu: what is not defined here is found there. */
#include <cuda.h>
#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define EXPORT __attribute__((visibility("default")))
#define KERNELS_MAX 4096
#define PARAMS_MAX 256
#define ALONE "// alone\n"
#define VARIABLES "// variables: "
#define FATBIN_MAGIC 0xba55ed50u

enum { FLAG, EPOCH, LOW, HIGH, STARTED, HEAD = 16 }; /* words of a control block */

struct counts {
    uint64_t launches, guarded, sliced; /* of kernels; the rest of them ran whole */
    uint64_t starts;                    /* parts that guarded and sliced launches took */
    uint64_t twice;                     /* guarded launches in which more blocks ran than there are */
    char running[256];                  /* the kernel that is running */
};

struct kernel {
    CUfunction whole, guarded, slice;
    unsigned params; /* of the original */
    char name[256];
};

struct launch {
    unsigned grid[3], block[3], shared;
    CUstream stream;
    void **params;
    const struct kernel *kernel;
    uint32_t blocks;
};

static struct {
    pthread_mutex_t lock; /* kernels */
    struct kernel kernels[KERNELS_MAX];
    unsigned count;
    struct pair {
        CUmodule module, forms;
    } pairs[2 * KERNELS_MAX]; /* what was loaded, and where the forms of its kernels are */
    unsigned pair_count;
    struct counts *counts;
    uint64_t random;
    CUresult (*load)(CUmodule *, const void *, unsigned, CUjit_option *, void **);
    CUresult (*get)(CUfunction *, CUmodule, const char *);
    CUresult (*launch)(CUfunction, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, CUstream,
                       void **, void **);
} self = {.lock = PTHREAD_MUTEX_INITIALIZER};

__attribute__((constructor)) static void begin(void)
{
    const char *counts = getenv("RESTLESS_COUNTS"), *seed = getenv("RESTLESS_SEED");
    *(void **)&self.load = dlsym(RTLD_NEXT, "cuModuleLoadDataEx");
    *(void **)&self.get = dlsym(RTLD_NEXT, "cuModuleGetFunction");
    *(void **)&self.launch = dlsym(RTLD_NEXT, "cuLaunchKernel");
    int fd = counts ? open(counts, O_RDWR | O_CLOEXEC) : -1;
    self.counts = mmap(NULL, sizeof *self.counts, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    self.random = seed ? strtoull(seed, NULL, 10) : 1;
    if (fd < 0 || self.counts == MAP_FAILED || !self.load || !self.get || !self.launch)
        abort();
    close(fd);
}

/* 0 .. below - 1 (splitmix64) */
static uint32_t draw(uint32_t below)
{
    uint64_t x = __atomic_add_fetch(&self.random, 0x9e3779b97f4a7c15ull, __ATOMIC_RELAXED);
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9ull;
    x = (x ^ x >> 27) * 0x94d049bb133111ebull;
    return (uint32_t)((x ^ x >> 31) % below);
}

/* ---- modules: the test rewrites them ----------------------------------------------------------- */

static size_t image_bytes(const void *image)
{
    uint32_t magic;
    uint64_t bytes;
    memcpy(&magic, image, sizeof magic);
    if (magic == 0x464c457fu) /* ELF */
        return 0;
    if (magic != FATBIN_MAGIC)
        return strlen(image);
    memcpy(&bytes, (const char *)image + 8, sizeof bytes);
    return 16 + bytes;
}

static bool transfer(int fd, void *bytes, size_t count, bool out)
{
    for (size_t at = 0; at < count;) {
        ssize_t n = out ? write(fd, (char *)bytes + at, count - at) : read(fd, (char *)bytes + at, count - at);
        if (n <= 0)
            return false;
        at += (size_t)n;
    }
    return true;
}

/* The test's answer, or NULL. To be freed. */
static char *rewritten(const void *image)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    const char *path = getenv("RESTLESS_SOCKET");
    uint64_t bytes = image_bytes(image), answer = 0;
    char *text = NULL;
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    snprintf(address.sun_path, sizeof address.sun_path, "%s", path ? path : "");
    if (bytes && connect(fd, (struct sockaddr *)&address, sizeof address) == 0 &&
        transfer(fd, &bytes, sizeof bytes, true) && transfer(fd, (void *)image, bytes, true) &&
        transfer(fd, &answer, sizeof answer, false) && answer && (text = calloc(1, answer + 1)) &&
        !transfer(fd, text, answer, false)) {
        free(text);
        text = NULL;
    }
    close(fd);
    return text;
}

/* The addresses of the module's variables that the forms' text names, into the forms' table. */
static void share_variables(CUmodule module, CUmodule forms, char *text)
{
    CUdeviceptr table, address;
    size_t bytes, at = 0;
    char *line = text + strlen(VARIABLES), *rest = NULL;
    if (strncmp(text, VARIABLES, strlen(VARIABLES)) != 0)
        return;
    line[strcspn(line, "\n")] = 0;
    if (cuModuleGetGlobal_v2(&table, &bytes, forms, "tally_variables") != CUDA_SUCCESS)
        abort();
    for (char *name = strtok_r(line, " ", &rest); name; name = strtok_r(NULL, " ", &rest), at += sizeof address)
        if (cuModuleGetGlobal_v2(&address, &bytes, module, name) != CUDA_SUCCESS ||
            cuMemcpyHtoD_v2(table + at, &address, sizeof address) != CUDA_SUCCESS)
            abort();
}

static void remember(CUmodule module, CUmodule forms)
{
    pthread_mutex_lock(&self.lock);
    if (self.pair_count == 2 * KERNELS_MAX)
        abort();
    self.pairs[self.pair_count++] = (struct pair){module, forms};
    pthread_mutex_unlock(&self.lock);
}

static CUresult load_forms(CUmodule module, char *text)
{
    CUmodule forms;
    CUresult result = self.load(&forms, text, 0, NULL, NULL);
    if (result != CUDA_SUCCESS)
        return result;
    share_variables(module, forms, text);
    remember(module, forms);
    return CUDA_SUCCESS;
}

/* Where a module's forms are; addresses of modules may come back, so the newest counts. */
static CUmodule forms_of(CUmodule module)
{
    CUmodule found = module;
    pthread_mutex_lock(&self.lock);
    for (unsigned i = self.pair_count; i > 0 && found == module; i--)
        if (self.pairs[i - 1].module == module)
            found = self.pairs[i - 1].forms;
    pthread_mutex_unlock(&self.lock);
    return found;
}

EXPORT CUresult cuModuleLoadDataEx(CUmodule *module, const void *image, unsigned count, CUjit_option *options,
                                   void **values)
{
    char *text = rewritten(image);
    bool alone = text && strncmp(text, ALONE, strlen(ALONE)) == 0;
    CUresult result = self.load(module, text && !alone ? text : image, count, options, values);
    if (result == CUDA_SUCCESS)
        remember(*module, *module);
    if (result == CUDA_SUCCESS && alone)
        result = load_forms(*module, text + strlen(ALONE));
    free(text);
    return result;
}

EXPORT CUresult cuModuleGetFunction(CUfunction *function, CUmodule module, const char *name)
{
    CUresult result = self.get(function, module, name);
    size_t offset, bytes;
    struct kernel kernel = {0};
    if (result != CUDA_SUCCESS || strlen(name) >= sizeof kernel.name)
        return result;
    char form[sizeof kernel.name + 32];
    CUmodule forms = forms_of(module);
    kernel.whole = *function;
    memcpy(kernel.name, name, strlen(name));
    snprintf(form, sizeof form, "%s__tallyguard", name);
    if (self.get(&kernel.guarded, forms, form) != CUDA_SUCCESS)
        kernel.guarded = NULL;
    snprintf(form, sizeof form, "%s__tallysub", name);
    if (self.get(&kernel.slice, forms, form) != CUDA_SUCCESS)
        kernel.slice = NULL;
    while (cuFuncGetParamInfo(*function, kernel.params, &offset, &bytes) == CUDA_SUCCESS)
        kernel.params++;
    pthread_mutex_lock(&self.lock);
    if (self.count == KERNELS_MAX)
        abort();
    self.kernels[self.count++] = kernel;
    pthread_mutex_unlock(&self.lock);
    return result;
}

/* The newest: addresses of functions may come back after their module is gone. */
static const struct kernel *kernel_of(CUfunction function)
{
    const struct kernel *found = NULL;
    pthread_mutex_lock(&self.lock);
    for (unsigned i = self.count; i > 0 && !found; i--)
        if (self.kernels[i - 1].whole == function)
            found = &self.kernels[i - 1];
    pthread_mutex_unlock(&self.lock);
    return found;
}

/* ---- launches ---------------------------------------------------------------------------------- */

static CUresult start(const struct launch *launch, CUfunction form, const unsigned grid[3], void *last)
{
    void *params[PARAMS_MAX + 1];
    memcpy(params, launch->params, launch->kernel->params * sizeof *params);
    params[launch->kernel->params] = last;
    if (launch->shared)
        cuFuncSetAttribute(form, CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES, (int)launch->shared);
    self.counts->starts++;
    return self.launch(form, grid[0], grid[1], grid[2], launch->block[0], launch->block[1], launch->block[2],
                       launch->shared, launch->stream, params, NULL);
}

/* At random: some blocks, some threads of time. */
static CUresult run_and_stop(const struct launch *launch, CUdeviceptr control)
{
    volatile uint32_t *words = (volatile uint32_t *)control; /* softgpu's memory is the process's */
    uint32_t goal = words[STARTED] + draw(6);
    uint32_t length = 1 + draw(launch->blocks / 4 > 8 ? launch->blocks / 4 : 8);
    bool by_range = words[STARTED] == 0 || draw(8) > 0;
    words[LOW] = by_range ? draw(launch->blocks) : 0;
    words[HIGH] = by_range && launch->blocks - words[LOW] > length ? words[LOW] + length : launch->blocks;
    CUresult result = start(launch, launch->kernel->guarded, launch->grid, &control);
    while (result == CUDA_SUCCESS && words[STARTED] < goal && cuStreamQuery(launch->stream) == CUDA_ERROR_NOT_READY)
        sched_yield();
    words[FLAG] = 1;
    if (result == CUDA_SUCCESS)
        result = cuStreamSynchronize(launch->stream);
    words[FLAG] = 0;
    return result;
}

static CUresult run_guarded(const struct launch *launch)
{
    CUdeviceptr control;
    size_t bytes = (HEAD + (size_t)launch->blocks) * sizeof(uint32_t);
    CUresult result = cuMemAlloc_v2(&control, bytes);
    if (result != CUDA_SUCCESS)
        return result;
    volatile uint32_t *words = (volatile uint32_t *)control;
    memset((void *)control, 0, bytes);
    words[EPOCH] = 1 + draw(1u << 31);
    while (result == CUDA_SUCCESS && words[STARTED] < launch->blocks)
        result = run_and_stop(launch, control);
    self.counts->guarded++;
    self.counts->twice += words[STARTED] > launch->blocks;
    cuMemFree_v2(control);
    return result;
}

static CUresult run_slices(const struct launch *launch)
{
    CUresult result = CUDA_SUCCESS;
    for (uint32_t low = 0, length; low < launch->blocks && result == CUDA_SUCCESS; low += length) {
        length = 1 + draw(launch->blocks / 4 > 8 ? launch->blocks / 4 : 8);
        length = length < launch->blocks - low ? length : launch->blocks - low;
        uint32_t part[4] = {low, launch->grid[0], launch->grid[1], launch->grid[2]};
        result = start(launch, launch->kernel->slice, (unsigned[3]){length, 1, 1}, part);
    }
    self.counts->sliced++;
    return result == CUDA_SUCCESS ? cuStreamSynchronize(launch->stream) : result;
}

EXPORT CUresult cuLaunchKernel(CUfunction function, unsigned x, unsigned y, unsigned z, unsigned bx, unsigned by,
                               unsigned bz, unsigned shared, CUstream stream, void **params, void **extra)
{
    const struct kernel *kernel = kernel_of(function);
    struct launch launch = {{x, y, z}, {bx, by, bz}, shared, stream, params, kernel, x * y * z};
    self.counts->launches++;
    bool divisible = kernel && params && !extra && kernel->params < PARAMS_MAX && launch.blocks > 0;
    if (!divisible || (!kernel->guarded && !kernel->slice))
        return self.launch(function, x, y, z, bx, by, bz, shared, stream, params, extra);
    memcpy(self.counts->running, kernel->name, sizeof kernel->name);
    bool guard = kernel->guarded && (!kernel->slice || draw(2));
    CUresult result = guard ? run_guarded(&launch) : run_slices(&launch);
    self.counts->running[0] = 0;
    return result;
}
