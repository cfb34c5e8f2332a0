/* For driver-API programs: libcuda is loaded when the program runs, as cuda-python and others do. */
#ifndef DRIVER_H
#define DRIVER_H

#include <cuda.h>
#include <dlfcn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DRIVER_FUNCTIONS(X)                                                                        \
    X(cuInit, (unsigned))                                                                          \
    X(cuDriverGetVersion, (int *))                                                                 \
    X(cuGetErrorName, (CUresult, const char **))                                                   \
    X(cuGetErrorString, (CUresult, const char **))                                                 \
    X(cuDeviceGet, (CUdevice *, int))                                                              \
    X(cuDeviceGetCount, (int *))                                                                   \
    X(cuDeviceGetAttribute, (int *, CUdevice_attribute, CUdevice))                                 \
    X(cuDevicePrimaryCtxRetain, (CUcontext *, CUdevice))                                           \
    X(cuCtxCreate_v2, (CUcontext *, unsigned, CUdevice))                                           \
    X(cuCtxDestroy_v2, (CUcontext))                                                                \
    X(cuCtxSetCurrent, (CUcontext))                                                                \
    X(cuCtxGetCurrent, (CUcontext *))                                                              \
    X(cuCtxSynchronize, (void))                                                                    \
    X(cuMemAlloc_v2, (CUdeviceptr *, size_t))                                                      \
    X(cuMemFree_v2, (CUdeviceptr))                                                                 \
    X(cuMemGetInfo_v2, (size_t *, size_t *))                                                       \
    X(cuMemHostAlloc, (void **, size_t, unsigned))                                                 \
    X(cuMemFreeHost, (void *))                                                                     \
    X(cuMemcpyHtoD_v2, (CUdeviceptr, const void *, size_t))                                        \
    X(cuMemcpyDtoH_v2, (void *, CUdeviceptr, size_t))                                              \
    X(cuMemsetD32_v2, (CUdeviceptr, unsigned, size_t))                                             \
    X(cuModuleLoadData, (CUmodule *, const void *))                                                \
    X(cuModuleLoadDataEx, (CUmodule *, const void *, unsigned, CUjit_option *, void **))           \
    X(cuModuleLoad, (CUmodule *, const char *))                                                    \
    X(cuModuleUnload, (CUmodule))                                                                  \
    X(cuModuleGetFunction, (CUfunction *, CUmodule, const char *))                                 \
    X(cuModuleGetGlobal_v2, (CUdeviceptr *, size_t *, CUmodule, const char *))                     \
    X(cuLibraryLoadData, (CUlibrary *, const void *, CUjit_option *, void **, unsigned,            \
                          CUlibraryOption *, void **, unsigned))                                   \
    X(cuLibraryUnload, (CUlibrary))                                                                \
    X(cuLinkCreate_v2, (unsigned, CUjit_option *, void **, CUlinkState *))                         \
    X(cuLinkAddData_v2, (CUlinkState, CUjitInputType, void *, size_t, const char *, unsigned,      \
                         CUjit_option *, void **))                                                 \
    X(cuLinkAddFile_v2, (CUlinkState, CUjitInputType, const char *, unsigned, CUjit_option *,      \
                         void **))                                                                 \
    X(cuLinkComplete, (CUlinkState, void **, size_t *))                                            \
    X(cuLinkDestroy, (CUlinkState))                                                                \
    X(cuLaunchKernel, (CUfunction, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned,     \
                       unsigned, CUstream, void **, void **))                                      \
    X(cuStreamCreate, (CUstream *, unsigned))                                                      \
    X(cuStreamDestroy_v2, (CUstream))                                                              \
    X(cuStreamSynchronize, (CUstream))

#define DECLARE(name, arguments) static CUresult (*p_##name) arguments;
DRIVER_FUNCTIONS(DECLARE)
#undef DECLARE

static inline const char *error_name(CUresult error)
{
    const char *name = "?";
    p_cuGetErrorName(error, &name);
    return name;
}

#define CHECK(call)                                                                                \
    do {                                                                                           \
        CUresult error_ = p_##call;                                                                \
        if (error_ != CUDA_SUCCESS) {                                                              \
            fprintf(stderr, "%s:%d: %s gave %d (%s)\n", __FILE__, __LINE__, #call, (int)error_,    \
                    error_name(error_));                                                           \
            exit(2);                                                                               \
        }                                                                                          \
    } while (0)

#define CHECK_ERROR(call, wanted)                                                                  \
    do {                                                                                           \
        CUresult error_ = p_##call;                                                                \
        if (error_ != (wanted)) {                                                                  \
            fprintf(stderr, "%s:%d: %s gave %d (%s), not %d\n", __FILE__, __LINE__, #call,         \
                    (int)error_, error_name(error_), (int)(wanted));                               \
            exit(2);                                                                               \
        }                                                                                          \
    } while (0)

#define EXPECT(condition, ...)                                                                     \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            fprintf(stderr, "%s:%d: %s is false: ", __FILE__, __LINE__, #condition);               \
            fprintf(stderr, __VA_ARGS__);                                                          \
            fputc('\n', stderr);                                                                   \
            exit(1);                                                                               \
        }                                                                                          \
    } while (0)

static inline void load_driver(void)
{
    void *library = dlopen("libcuda.so.1", RTLD_NOW);
    if (!library) {
        fprintf(stderr, "%s\n", dlerror());
        exit(2);
    }
#define LOOK_UP(name, arguments)                                                                   \
    *(void **)&p_##name = dlsym(library, #name);                                                   \
    EXPECT(p_##name, "no %s", #name);
    DRIVER_FUNCTIONS(LOOK_UP)
#undef LOOK_UP
}

/* out[i] = in[i] * factor + i, and a module-wide counter of threads. */
static const char scale_ptx[] =
    ".version 7.0\n.target sm_70\n.address_size 64\n"
    ".visible .global .align 4 .u32 calls = 5;\n"
    ".visible .entry scale(.param .u64 out, .param .u64 in, .param .u32 factor, .param .u32 n)\n{\n"
    "    .reg .pred %p<2>;\n    .reg .b32 %r<10>;\n    .reg .b64 %d<8>;\n"
    "    ld.param.u64 %d1, [out];\n    ld.param.u64 %d2, [in];\n"
    "    ld.param.u32 %r1, [factor];\n    ld.param.u32 %r2, [n];\n"
    "    mov.u32 %r3, %ctaid.x;\n    mov.u32 %r4, %ntid.x;\n    mov.u32 %r5, %tid.x;\n"
    "    mad.lo.s32 %r6, %r3, %r4, %r5;\n    setp.ge.s32 %p1, %r6, %r2;\n    @%p1 bra DONE;\n"
    "    mul.wide.s32 %d3, %r6, 4;\n    add.s64 %d4, %d2, %d3;\n    add.s64 %d5, %d1, %d3;\n"
    "    ld.global.u32 %r7, [%d4];\n    mad.lo.s32 %r8, %r7, %r1, %r6;\n"
    "    st.global.u32 [%d5], %r8;\n    atom.global.add.u32 %r9, [calls], 1;\n"
    "DONE:\n    ret;\n}\n";

/* Loads the module above, launches it with both ways of passing parameters, and checks the results. */
static inline void compute(int factor)
{
    enum { N = 3000 };
    CUdevice device;
    CUcontext context;
    CUmodule module;
    CUfunction function;
    CUdeviceptr in, out, calls;
    static uint32_t host[N];
    size_t bytes;
    uint32_t n = N, count;
    CHECK(cuInit(0));
    CHECK(cuDeviceGet(&device, 0));
    CHECK(cuCtxCreate_v2(&context, 0, device));
    CHECK(cuModuleLoadData(&module, scale_ptx));
    CHECK(cuModuleGetFunction(&function, module, "scale"));
    CHECK(cuModuleGetGlobal_v2(&calls, &bytes, module, "calls"));
    EXPECT(bytes == 4, "size of calls %zu", bytes);
    CHECK(cuMemAlloc_v2(&in, sizeof host));
    CHECK(cuMemAlloc_v2(&out, sizeof host));
    for (uint32_t i = 0; i < N; i++)
        host[i] = i * i;
    CHECK(cuMemcpyHtoD_v2(in, host, sizeof host));
    for (int way = 0; way < 2; way++) {
        CHECK(cuMemsetD32_v2(out, 0xdeadbeef, N));
        void *params[] = {&out, &in, &factor, &n};
        struct { CUdeviceptr out, in; int factor; uint32_t n; } packed = {out, in, factor, n};
        size_t size = sizeof packed;
        void *extra[] = {CU_LAUNCH_PARAM_BUFFER_POINTER, &packed, CU_LAUNCH_PARAM_BUFFER_SIZE, &size,
                         CU_LAUNCH_PARAM_END};
        CHECK(cuLaunchKernel(function, (N + 127) / 128, 1, 1, 128, 1, 1, 0, NULL, way ? NULL : params,
                             way ? extra : NULL));
        CHECK(cuCtxSynchronize());
        CHECK(cuMemcpyDtoH_v2(host, out, sizeof host));
        for (uint32_t i = 0; i < N; i++) {
            EXPECT(host[i] == i * i * factor + i, "way %d at %u: %u", way, i, host[i]);
            host[i] = 0;
        }
    }
    CHECK(cuMemcpyDtoH_v2(&count, calls, 4));
    EXPECT(count == 5 + 2 * N, "calls %u", count);
    CHECK(cuMemFree_v2(in));
    CHECK(cuMemFree_v2(out));
    CHECK(cuModuleUnload(module));
    CHECK(cuCtxDestroy_v2(context));
}

#endif
