#include "softgpu_fake.h"

#include <string.h>
#include <time.h>

struct soft_worker {
    uint32_t index;
};

typedef struct soft_outcome (*fake_kernel)(const struct soft_launch *launch, uint64_t block);

struct params {
    uint64_t fake;
    uint32_t mark;
};

static struct fake *fake_of(const struct soft_launch *launch)
{
    return (struct fake *)(uintptr_t)((const struct params *)launch->params)->fake;
}

static bool aborted(const struct soft_launch *launch)
{
    return __atomic_load_n(launch->abort, __ATOMIC_RELAXED) != 0;
}

static const struct soft_outcome done = {SOFT_DONE, CUDA_SUCCESS, 0};
static const struct soft_outcome stopped = {SOFT_ABORTED, CUDA_SUCCESS, 0};

static struct soft_outcome run_add(const struct soft_launch *launch, uint64_t block)
{
    atomic_fetch_add(&fake_of(launch)->count, 1);
    return done;
}

static struct soft_outcome run_wait(const struct soft_launch *launch, uint64_t block)
{
    struct fake *fake = fake_of(launch);
    atomic_fetch_add(&fake->entered, 1);
    while (!atomic_load(&fake->go)) {
        if (aborted(launch))
            return stopped;
        pause_ms(1);
    }
    atomic_fetch_add(&fake->count, 1);
    return done;
}

static struct soft_outcome run_note(const struct soft_launch *launch, uint64_t block)
{
    struct fake *fake = fake_of(launch);
    uint32_t ticket = atomic_fetch_add(&fake->ticket, 1);
    fake->order[ticket % 1024] =
        ((const struct params *)launch->params)->mark << 16 | (uint32_t)block;
    atomic_fetch_add(&fake->count, 1);
    return done;
}

static struct soft_outcome run_fault(const struct soft_launch *launch, uint64_t block)
{
    if (block == 1)
        return (struct soft_outcome){SOFT_FAULT, CUDA_ERROR_ILLEGAL_ADDRESS, 0xdead};
    return run_add(launch, block);
}

static struct soft_outcome run_meet(const struct soft_launch *launch, uint64_t block)
{
    struct fake *fake = fake_of(launch);
    atomic_fetch_add(&fake->entered, 1);
    while (atomic_load(&fake->entered) % launch->grid[0] && !atomic_load(&fake->go)) {
        if (aborted(launch))
            return stopped;
        pause_ms(1);
    }
    atomic_fetch_add(&fake->count, 1);
    return done;
}

static const struct soft_param params[] = {{0, 8}, {8, 4}};
#define KERNEL(kernel_name, function)                                                              \
    {.name = kernel_name,                                                                          \
     .entry = (const void *)(function),                                                            \
     .params = params,                                                                             \
     .param_count = 2,                                                                             \
     .param_bytes = 16,                                                                            \
     .max_threads = 512,                                                                           \
     .registers = 16,                                                                              \
     .ptx_version = 80,                                                                            \
     .static_shared_bytes = 64}
static const struct soft_kernel kernels[] = {KERNEL("add", run_add), KERNEL("wait", run_wait),
                                             KERNEL("note", run_note), KERNEL("fault", run_fault),
                                             KERNEL("meet", run_meet)};
/* "table" holds the address of "value". */
static const struct soft_global globals[] = {{"value", 0, 4, 0, 0}, {"table", 8, 8, 1, 0}};
static const uint8_t image[16] = {42};
static const struct soft_relocation relocations[] = {{8}};
static const struct soft_code code = {
    .kernels = kernels,
    .kernel_count = sizeof kernels / sizeof *kernels,
    .globals = globals,
    .global_count = 2,
    .globals_image = image,
    .globals_bytes = sizeof image,
    .image_bytes = sizeof image,
    .relocations = relocations,
    .relocation_count = 1,
};

static CUresult compile(void *user, const char *ptx, size_t bytes, const struct soft_code **out,
                        char *log, size_t log_bytes)
{
    CHECK(strlen(ptx) == bytes);
    if (strstr(ptx, "bad.opcode")) {
        snprintf(log, log_bytes, "line 4: unknown opcode bad.opcode");
        return CUDA_ERROR_INVALID_PTX;
    }
    *out = &code;
    return CUDA_SUCCESS;
}

struct soft_worker *soft_worker_create(uint32_t index)
{
    struct soft_worker *worker = malloc(sizeof *worker);
    if (worker)
        worker->index = index;
    return worker;
}

void soft_worker_destroy(struct soft_worker *worker) { free(worker); }

CUresult soft_resolve(const struct soft_kernel *kernel, const uint32_t block[3])
{
    CHECK(kernel && block[0]);
    return CUDA_SUCCESS;
}

struct soft_outcome soft_run_block(struct soft_worker *worker, const struct soft_launch *launch,
                                   uint64_t block)
{
    CHECK((uintptr_t)launch->params % 16 == 0);
    CHECK(block < (uint64_t)launch->grid[0] * launch->grid[1] * launch->grid[2]);
    if (aborted(launch))
        return stopped;
    return ((fake_kernel)launch->kernel->entry)(launch, block);
}

void soft_worker_interrupt(struct soft_worker *worker) { CHECK(worker != NULL); }

/* ---- fixture -------------------------------------------------------------------------------- */

void fixture_open(struct fixture *fixture)
{
    softgpuSetCompiler(compile, NULL);
    OK(cuDevicePrimaryCtxRetain(&fixture->context, 0));
    OK(cuCtxSetCurrent(fixture->context));
    OK(cuModuleLoadData(&fixture->module, FAKE_PTX));
    OK(cuModuleGetFunction(&fixture->add, fixture->module, "add"));
    OK(cuModuleGetFunction(&fixture->wait, fixture->module, "wait"));
    OK(cuModuleGetFunction(&fixture->note, fixture->module, "note"));
    OK(cuModuleGetFunction(&fixture->fault, fixture->module, "fault"));
    OK(cuModuleGetFunction(&fixture->meet, fixture->module, "meet"));
}

void fixture_close(struct fixture *fixture)
{
    OK(cuCtxSynchronize());
    OK(cuModuleUnload(fixture->module));
    OK(cuDevicePrimaryCtxRelease_v2(0));
    OK(cuCtxSetCurrent(NULL));
}

CUdeviceptr fake_new(void)
{
    CUdeviceptr address;
    OK(cuMemAlloc_v2(&address, sizeof(struct fake)));
    OK(cuMemsetD8_v2(address, 0, sizeof(struct fake)));
    return address;
}

struct fake *fake_at(CUdeviceptr address) { return (struct fake *)(uintptr_t)address; }

CUresult try_launch(CUfunction function, unsigned blocks, CUstream stream, CUdeviceptr fake,
                    uint32_t mark)
{
    void *arguments[] = {&fake, &mark};
    return cuLaunchKernel(function, blocks, 1, 1, 32, 1, 1, 0, stream, arguments, NULL);
}

void launch(CUfunction function, unsigned blocks, CUstream stream, CUdeviceptr fake, uint32_t mark)
{
    OK(try_launch(function, blocks, stream, fake, mark));
}

void pause_ms(unsigned ms) { nanosleep(&(struct timespec){.tv_nsec = (long)ms * 1000000}, NULL); }

/* No deadline: a test that hangs is stopped, and named, by the test runner. */
void await(_Atomic uint32_t *value, uint32_t wanted)
{
    while (atomic_load(value) < wanted)
        pause_ms(1);
}
