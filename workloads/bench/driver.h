/* What the benchmark's C programs share: the few driver calls, by hand (a user's machine has no cuda.h),
 * and clocks. */
#ifndef TALLY_BENCH_DRIVER_H
#define TALLY_BENCH_DRIVER_H

#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

typedef int (*fn_init)(unsigned);
typedef int (*fn_device_get)(int *, int);
typedef int (*fn_ctx_create)(void **, unsigned, int);
typedef int (*fn_module_load)(void **, const void *);
typedef int (*fn_get_function)(void **, void *, const char *);
typedef int (*fn_launch)(void *, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, void *,
                         void **, void **);
typedef int (*fn_synchronize)(void);
typedef int (*fn_mem_info)(size_t *, size_t *);
typedef int (*fn_mem_alloc)(uint64_t *, size_t);
typedef int (*fn_htod)(uint64_t, const void *, size_t);
typedef int (*fn_dtoh)(void *, uint64_t, size_t);

static struct {
    fn_init init;
    fn_device_get device_get;
    fn_ctx_create ctx_create;
    fn_module_load module_load;
    fn_get_function get_function;
    fn_launch launch;
    fn_synchronize synchronize;
    fn_mem_info mem_info;
    fn_mem_alloc mem_alloc;
    fn_htod htod;
    fn_dtoh dtoh;
} cu;

static const char ptx[] =
    ".version 7.0\n.target sm_70\n.address_size 64\n"
    ".visible .entry nothing(.param .u64 a, .param .u64 b, .param .u64 c, .param .u32 n)\n{\n    ret;\n}\n";

static void die(const char *what, int code)
{
    fprintf(stderr, "%s failed (%d)\n", what, code);
    exit(2);
}

#define CHECK(call)                                                                                \
    do {                                                                                           \
        int error_ = (call);                                                                       \
        if (error_)                                                                                \
            die(#call, error_);                                                                    \
    } while (0)

static void *look_up(void *library, const char *name)
{
    void *symbol = dlsym(library, name);
    if (!symbol)
        die(name, 0);
    return symbol;
}

static void load_cuda(void)
{
    void *library = dlopen("libcuda.so.1", RTLD_NOW);
    if (!library)
        die(dlerror(), 0);
    *(void **)&cu.init = look_up(library, "cuInit");
    *(void **)&cu.device_get = look_up(library, "cuDeviceGet");
    *(void **)&cu.ctx_create = look_up(library, "cuCtxCreate_v2");
    *(void **)&cu.module_load = look_up(library, "cuModuleLoadData");
    *(void **)&cu.get_function = look_up(library, "cuModuleGetFunction");
    *(void **)&cu.launch = look_up(library, "cuLaunchKernel");
    *(void **)&cu.synchronize = look_up(library, "cuCtxSynchronize");
    *(void **)&cu.mem_info = look_up(library, "cuMemGetInfo_v2");
    *(void **)&cu.mem_alloc = look_up(library, "cuMemAlloc_v2");
    *(void **)&cu.htod = look_up(library, "cuMemcpyHtoD_v2");
    *(void **)&cu.dtoh = look_up(library, "cuMemcpyDtoH_v2");
}

/* A context, and in it a kernel that does nothing. */
static void *start_cuda(void)
{
    int device;
    void *context, *module, *function;
    load_cuda();
    CHECK(cu.init(0));
    CHECK(cu.device_get(&device, 0));
    CHECK(cu.ctx_create(&context, 0, device));
    CHECK(cu.module_load(&module, ptx));
    CHECK(cu.get_function(&function, module, "nothing"));
    return function;
}

static void launch(void *function)
{
    uint64_t a = 1, b = 2, c = 3;
    uint32_t n = 4;
    void *params[] = {&a, &b, &c, &n};
    CHECK(cu.launch(function, 1, 1, 1, 1, 1, 1, 0, NULL, params, NULL));
}

static double now_ns(clockid_t clock)
{
    struct timespec time;
    clock_gettime(clock, &time);
    return (double)time.tv_sec * 1e9 + (double)time.tv_nsec;
}

#endif
