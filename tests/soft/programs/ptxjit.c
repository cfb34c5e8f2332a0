/* Links PTX as NVIDIA's sample ptxjit does, and runs it. argv[1]: what to link; files may follow, each behind the
 * number of its kind (CUjitInputType). Prints what loading gave where that is the question. */
#include "driver.h"

#define HEAD ".version 7.0\n.target sm_70\n.address_size 64\n"
#define TRIPLE "(.param .b32 out) triple(.param .b32 in)"

static const char caller[] = HEAD
    ".extern .func " TRIPLE ";\n"
    ".visible .entry kernel(.param .u64 data)\n{\n"
    "    .reg .b32 %r<6>;\n    .reg .b64 %d<4>;\n"
    "    ld.param.u64 %d1, [data];\n    mov.u32 %r1, %tid.x;\n    mul.wide.u32 %d2, %r1, 4;\n"
    "    add.s64 %d3, %d1, %d2;\n    ld.global.u32 %r2, [%d3];\n"
    "    {\n    .param .b32 in;\n    .param .b32 out;\n    st.param.b32 [in], %r2;\n"
    "    call.uni (out), triple, (in);\n    ld.param.b32 %r3, [out];\n    }\n"
    "    st.global.u32 [%d3], %r3;\n    ret;\n}\n";
static const char called[] = HEAD
    ".visible .func " TRIPLE "\n{\n    .reg .b32 %r<3>;\n    ld.param.b32 %r1, [in];\n"
    "    mul.lo.s32 %r2, %r1, 3;\n    st.param.b32 [out], %r2;\n    ret;\n}\n";
static const char other[] = HEAD ".visible .entry other() { ret; }\n";

enum { N = 32 };

static void run(CUmodule module)
{
    CUfunction function;
    CUdeviceptr data;
    uint32_t host[N];
    void *params[] = {&data};
    for (uint32_t i = 0; i < N; i++)
        host[i] = i + 1;
    CHECK(cuModuleGetFunction(&function, module, "kernel"));
    CHECK(cuMemAlloc_v2(&data, sizeof host));
    CHECK(cuMemcpyHtoD_v2(data, host, sizeof host));
    CHECK(cuLaunchKernel(function, 1, 1, 1, N, 1, 1, 0, NULL, params, NULL));
    CHECK(cuMemcpyDtoH_v2(host, data, sizeof host));
    for (uint32_t i = 0; i < N; i++)
        EXPECT(host[i] == 3 * (i + 1), "at %u: %u", i, host[i]);
    CHECK(cuMemFree_v2(data));
    CHECK(cuModuleUnload(module));
}

static CUlinkState link_of(const char *first, const char *second)
{
    CUlinkState link;
    CHECK(cuLinkCreate_v2(0, NULL, NULL, &link));
    CHECK(cuLinkAddData_v2(link, CU_JIT_INPUT_PTX, (void *)first, strlen(first) + 1, "first", 0, NULL, NULL));
    if (second)
        CHECK(cuLinkAddData_v2(link, CU_JIT_INPUT_PTX, (void *)second, strlen(second), NULL, 0, NULL, NULL));
    return link;
}

/* Also from memory of the program's, and as an input of another link. */
static void good(void)
{
    CUmodule module;
    CUlinkState link = link_of(caller, called), again;
    void *image;
    size_t bytes;
    CHECK(cuLinkComplete(link, &image, &bytes));
    CHECK(cuModuleLoadData(&module, image));
    run(module);
    void *copy = malloc(bytes);
    EXPECT(copy, "no memory");
    memcpy(copy, image, bytes);
    CHECK(cuLinkDestroy(link));
    CHECK_ERROR(cuLinkDestroy(link), CUDA_ERROR_INVALID_HANDLE);
    CHECK(cuModuleLoadData(&module, copy));
    run(module);
    CHECK(cuLinkCreate_v2(0, NULL, NULL, &again));
    CHECK(cuLinkAddData_v2(again, CU_JIT_INPUT_CUBIN, copy, bytes, "copy", 0, NULL, NULL));
    CHECK(cuLinkAddData_v2(again, CU_JIT_INPUT_PTX, (void *)other, sizeof other, "other", 0, NULL, NULL));
    free(copy);
    CHECK(cuLinkComplete(again, &image, NULL));
    CHECK(cuModuleLoadData(&module, image));
    CHECK(cuLinkDestroy(again));
    run(module);
}

static void from_files(char **arguments)
{
    CUlinkState link;
    CUmodule module;
    void *image;
    CHECK(cuLinkCreate_v2(0, NULL, NULL, &link));
    for (; arguments[0]; arguments += 2)
        CHECK(cuLinkAddFile_v2(link, (CUjitInputType)atoi(arguments[0]), arguments[1], 0, NULL, NULL));
    CHECK(cuLinkComplete(link, &image, NULL));
    CHECK(cuModuleLoadData(&module, image));
    CHECK(cuLinkDestroy(link));
    run(module);
}

/* Tells what happens to a link that does not work out. */
static void bad(const char *first, const char *second)
{
    CUlinkState link = link_of(first, second);
    CUmodule module;
    CUfunction function;
    void *image;
    char log[512] = "";
    CUjit_option options[] = {CU_JIT_ERROR_LOG_BUFFER, CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES};
    void *values[] = {log, (void *)sizeof log};
    CHECK(cuLinkComplete(link, &image, NULL));
    CUresult result = p_cuModuleLoadDataEx(&module, image, 2, options, values);
    printf("load %s: %s\n", error_name(result), log);
    if (!result) {
        CUdeviceptr data = 0;
        void *params[] = {&data};
        CHECK(cuModuleGetFunction(&function, module, "kernel"));
        result = p_cuLaunchKernel(function, 1, 1, 1, N, 1, 1, 0, NULL, params, NULL);
        printf("launch %s\n", error_name(result ? result : p_cuCtxSynchronize()));
    }
}

int main(int count, char **arguments)
{
    CUcontext context;
    EXPECT(count > 1, "nothing to do");
    load_driver();
    CHECK(cuInit(0));
    CHECK(cuDevicePrimaryCtxRetain(&context, 0));
    CHECK(cuCtxSetCurrent(context));
    if (strcmp(arguments[1], "good") == 0)
        good();
    else if (strcmp(arguments[1], "files") == 0)
        from_files(arguments + 2);
    else if (strcmp(arguments[1], "missing") == 0)
        bad(caller, other);
    else if (strcmp(arguments[1], "alone") == 0)
        bad(caller, NULL);
    else
        bad(called, called);
    puts("ok");
    return 0;
}
