/* Is busy with one thing, until it is killed: heavy STAGE SEED [LINES]. STAGE: `load`: of modules of a dozen
 * kernels of LINES; `compile`: the first launches of kernels of a dozen LINES; `upload`, `download`: pageable
 * copies of 256 MiB; `pinned`: the like of pinned memory; `queue`: more launches than its socket holds. The
 * seed makes the code one that no cache knows. Says "ready" when it begins. */
#include "driver.h"

enum { KERNELS = 12, LINES = 120, BYTES = 256 << 20 };

static char *text_of(int kernels, int lines, int seed)
{
    size_t room = 4096 + (size_t)kernels * (1024 + (size_t)lines * 64);
    char *text = malloc(room), *at = text, *end = text + room;
    at += snprintf(at, (size_t)(end - at), ".version 8.0\n.target sm_80\n.address_size 64\n");
    for (int kernel = 0; kernel < kernels; kernel++) {
        at += snprintf(at, (size_t)(end - at),
                       ".visible .entry k%d(.param .u64 out)\n{\n.reg .b32 %%r<64>;\n.reg .b64 %%d<2>;\n"
                       "ld.param.u64 %%d1, [out];\nmov.u32 %%r0, %%tid.x;\n", kernel);
        for (int i = 1; i < 64; i++)
            at += snprintf(at, (size_t)(end - at), "add.u32 %%r%d, %%r%d, %d;\n", i, i - 1, seed + i);
        for (int i = 0; i < lines; i++)
            at += snprintf(at, (size_t)(end - at), "mad.lo.u32 %%r%d, %%r%d, %d, %%r%d;\n", i * 7 % 64, i * 13 % 64,
                           seed + kernel + i, i * 29 % 64);
        at += snprintf(at, (size_t)(end - at), "st.global.u32 [%%d1], %%r0;\nret;\n}\n");
    }
    return text;
}

static void ready(void)
{
    puts("ready");
    fflush(stdout);
}

static void launch(CUfunction function, CUdeviceptr out)
{
    void *params[] = {&out};
    CHECK(cuLaunchKernel(function, 1, 1, 1, 32, 1, 1, 0, NULL, params, NULL));
}

int main(int argc, char **argv)
{
    CUdevice device;
    CUcontext context;
    CUmodule module;
    CUfunction function;
    CUdeviceptr memory;
    void *host;
    EXPECT(argc == 3 || argc == 4, "usage");
    const char *stage = argv[1];
    int seed = atoi(argv[2]), lines = argc == 4 ? atoi(argv[3]) : LINES;
    load_driver();
    CHECK(cuInit(0));
    CHECK(cuDeviceGet(&device, 0));
    CHECK(cuCtxCreate_v2(&context, 0, device));
    CHECK(cuMemAlloc_v2(&memory, BYTES));
    host = calloc(1, BYTES);
    if (!strcmp(stage, "load")) {
        ready();
        for (;; seed++) {
            char *text = text_of(KERNELS, lines, seed);
            CHECK(cuModuleLoadData(&module, text));
            CHECK(cuModuleUnload(module));
            free(text);
        }
    } else if (!strcmp(stage, "compile")) {
        for (int first = seed;; seed++) {
            CHECK(cuModuleLoadData(&module, text_of(1, KERNELS * lines, seed)));
            CHECK(cuModuleGetFunction(&function, module, "k0"));
            if (seed == first)
                ready();
            launch(function, memory);
            CHECK(cuCtxSynchronize());
        }
    } else if (!strcmp(stage, "queue")) {
        CHECK(cuModuleLoadData(&module, text_of(1, 1, seed)));
        CHECK(cuModuleGetFunction(&function, module, "k0"));
        ready();
        for (;;)
            launch(function, memory);
    } else if (!strcmp(stage, "pinned")) {
        ready();
        for (;;) {
            CHECK(cuMemHostAlloc(&host, BYTES, 0));
            CHECK(cuMemFreeHost(host));
        }
    } else {
        ready();
        for (;;)
            if (!strcmp(stage, "upload"))
                CHECK(cuMemcpyHtoD_v2(memory, host, BYTES));
            else
                CHECK(cuMemcpyDtoH_v2(host, memory, BYTES));
    }
}
