#include <string.h>

#include "../softgpu/driver/image.h"
#include "softgpu_fake.h"

static void test_log(void)
{
    char log[64];
    CUmodule module;
    CUjit_option options[] = {CU_JIT_ERROR_LOG_BUFFER, CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES};
    void *values[] = {log, (void *)(uintptr_t)sizeof log};
    EXPECT(CUDA_ERROR_INVALID_PTX,
           cuModuleLoadDataEx(&module, FAKE_PTX "bad.opcode;", 2, options, values));
    CHECK(strcmp(log, "line 4: unknown opcode bad.opcode") == 0);
    CHECK((size_t)(uintptr_t)values[1] == strlen(log));
    values[1] = (void *)(uintptr_t)8;
    EXPECT(CUDA_ERROR_INVALID_PTX,
           cuModuleLoadDataEx(&module, FAKE_PTX "bad.opcode;", 2, options, values));
    CHECK(strcmp(log, "line 4:") == 0);
}

static void test_globals(CUmodule module)
{
    CUdeviceptr value, table, found;
    size_t bytes;
    uint32_t word;
    OK(cuModuleGetGlobal_v2(&value, &bytes, module, "value"));
    CHECK(bytes == 4);
    OK(cuMemcpyDtoH_v2(&word, value, 4));
    CHECK(word == 42);
    OK(cuModuleGetGlobal_v2(&table, NULL, module, "table"));
    OK(cuMemcpyDtoH_v2(&found, table, 8));
    CHECK(found == value); /* relocated */
    EXPECT(CUDA_ERROR_NOT_FOUND, cuModuleGetGlobal_v2(&table, NULL, module, "nothing"));
}

static void test_functions(const struct fixture *fixture)
{
    CUfunction function;
    CUmodule module;
    const char *name;
    size_t offset, bytes;
    int value, block;
    unsigned count;
    OK(cuModuleGetFunctionCount(&count, fixture->module));
    CHECK(count == 5);
    EXPECT(CUDA_ERROR_NOT_FOUND, cuModuleGetFunction(&function, fixture->module, "nothing"));
    OK(cuFuncGetName(&name, fixture->add));
    CHECK(strcmp(name, "add") == 0);
    OK(cuFuncGetModule(&module, fixture->add));
    CHECK(module == fixture->module);
    OK(cuFuncGetParamInfo(fixture->add, 1, &offset, &bytes));
    CHECK(offset == 8 && bytes == 4);
    EXPECT(CUDA_ERROR_INVALID_VALUE, cuFuncGetParamInfo(fixture->add, 2, &offset, &bytes));
    OK(cuFuncGetAttribute(&value, CU_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK, fixture->add));
    CHECK(value == 512);
    OK(cuOccupancyMaxActiveBlocksPerMultiprocessor(&value, fixture->add, 256, 0));
    CHECK(value == 1);
    OK(cuOccupancyMaxPotentialBlockSize(&value, &block, fixture->add, NULL, 0, 0));
    CHECK(value == 3 && block == 512);
}

static void test_launch_checks(const struct fixture *fixture)
{
    CUdeviceptr fake = fake_new();
    uint32_t mark = 0;
    void *arguments[] = {&fake, &mark};
    EXPECT(CUDA_ERROR_INVALID_VALUE,
           cuLaunchKernel(fixture->add, 0, 1, 1, 1, 1, 1, 0, NULL, arguments, NULL));
    EXPECT(CUDA_ERROR_INVALID_VALUE,
           cuLaunchKernel(fixture->add, 1, 65536, 1, 1, 1, 1, 0, NULL, arguments, NULL));
    EXPECT(CUDA_ERROR_INVALID_VALUE,
           cuLaunchKernel(fixture->add, 1, 1, 1, 1025, 1, 1, 0, NULL, arguments, NULL));
    EXPECT(CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES,
           cuLaunchKernel(fixture->add, 1, 1, 1, 513, 1, 1, 0, NULL, arguments, NULL));
    EXPECT(CUDA_ERROR_INVALID_VALUE,
           cuLaunchKernel(fixture->add, 1, 1, 1, 1, 1, 1, 49152, NULL, arguments, NULL));
    OK(cuFuncSetAttribute(fixture->add, CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES, 65536));
    OK(cuLaunchKernel(fixture->add, 1, 1, 1, 1, 1, 1, 49152, NULL, arguments, NULL));
    EXPECT(CUDA_ERROR_INVALID_VALUE,
           cuLaunchKernel(fixture->add, 1, 1, 1, 1, 1, 1, 0, NULL, NULL, NULL));
    EXPECT(CUDA_ERROR_INVALID_HANDLE,
           cuLaunchKernel(NULL, 1, 1, 1, 1, 1, 1, 0, NULL, arguments, NULL));
    struct {
        CUdeviceptr fake;
        uint32_t mark;
    } packed = {fake, 0};
    size_t bytes = sizeof packed;
    void *extra[] = {CU_LAUNCH_PARAM_BUFFER_POINTER, &packed, CU_LAUNCH_PARAM_BUFFER_SIZE, &bytes,
                     CU_LAUNCH_PARAM_END};
    OK(cuLaunchKernel(fixture->add, 2, 3, 4, 1, 1, 1, 0, NULL, NULL, extra));
    OK(cuCtxSynchronize());
    CHECK(atomic_load(&fake_at(fake)->count) == 25);
    EXPECT(CUDA_ERROR_COOPERATIVE_LAUNCH_TOO_LARGE,
           cuLaunchCooperativeKernel(fixture->add, 257 * 16, 1, 1, 1, 1, 1, 0, NULL, arguments));
    OK(cuMemFree_v2(fake));
}

static void test_library(void)
{
    CUlibrary library, owner;
    CUkernel kernel, all[8];
    CUmodule module;
    CUfunction function;
    CUdeviceptr global, fake = fake_new();
    unsigned count;
    OK(cuLibraryLoadData(&library, FAKE_PTX, NULL, NULL, 0, NULL, NULL, 0));
    OK(cuLibraryGetKernelCount(&count, library));
    OK(cuLibraryEnumerateKernels(all, 8, library));
    OK(cuLibraryGetKernel(&kernel, library, "add"));
    CHECK(count == 5 && all[0] == kernel);
    OK(cuKernelGetLibrary(&owner, kernel));
    CHECK(owner == library);
    OK(cuKernelGetFunction(&function, kernel));
    launch((CUfunction)kernel, 3, NULL, fake, 0);
    launch(function, 3, NULL, fake, 0);
    OK(cuLibraryGetModule(&module, library));
    EXPECT(CUDA_ERROR_INVALID_HANDLE, cuModuleUnload(module));
    OK(cuLibraryGetGlobal(&global, NULL, library, "value"));
    OK(cuLibraryUnload(library));
    EXPECT(CUDA_ERROR_INVALID_HANDLE, cuLibraryUnload(library));
    EXPECT(CUDA_ERROR_INVALID_HANDLE, try_launch(function, 1, NULL, fake, 0));
    CHECK(atomic_load(&fake_at(fake)->count) == 6);
    OK(cuMemFree_v2(fake));
}

void test_modules(void)
{
    struct fixture fixture;
    fixture_open(&fixture);
    test_log();
    test_globals(fixture.module);
    test_functions(&fixture);
    test_launch_checks(&fixture);
    test_library();
    fixture_close(&fixture);
}

/* ---- images --------------------------------------------------------------------------------- */

struct entry {
    uint16_t kind, version;
    uint32_t header_bytes, payload_bytes, pad0, compressed_bytes, pad1[2], arch, bits, pad2;
    uint64_t flags, pad3, uncompressed_bytes;
};

static size_t add_entry(uint8_t *out, struct entry entry, const void *payload)
{
    entry.version = 0x101;
    entry.header_bytes = sizeof entry;
    memcpy(out, &entry, sizeof entry);
    memcpy(out + sizeof entry, payload, entry.payload_bytes);
    return sizeof entry + entry.payload_bytes;
}

static size_t make_fatbin(uint8_t *out)
{
    static const char newer[] = ".version 8.0 bad.opcode", text[] = FAKE_PTX;
    uint8_t packed[256] = {0xf0}; /* LZ4: one run of literals */
    size_t length = sizeof text;
    packed[1] = (uint8_t)(length - 15);
    memcpy(packed + 2, text, length);
    uint64_t files = 0;
    files += add_entry(out + 16 + files, (struct entry){.kind = 2, .payload_bytes = 8, .arch = 80},
                       "\177ELF....");
    files += add_entry(out + 16 + files,
                       (struct entry){.kind = 1, .payload_bytes = sizeof newer, .arch = 90}, newer);
    files += add_entry(out + 16 + files,
                       (struct entry){.kind = 1,
                                      .payload_bytes = (uint32_t)length + 2,
                                      .arch = 75,
                                      .flags = 0x2000,
                                      .compressed_bytes = (uint32_t)length + 2,
                                      .uncompressed_bytes = length},
                       packed);
    memcpy(out, &(uint32_t){0xba55ed50}, 4);
    memcpy(out + 4, &(uint16_t){1}, 2);
    memcpy(out + 6, &(uint16_t){16}, 2);
    memcpy(out + 8, &files, 8);
    return 16 + files;
}

/* Whatever is wrong inside a container whose size is right, the answer is an error code. */
static void test_mutations(const uint8_t *fatbin, size_t bytes)
{
    uint8_t copy[1024];
    uint32_t seed = 12345;
    for (int i = 0; i < 20000; i++) {
        CUmodule module;
        memcpy(copy, fatbin, bytes);
        for (int k = 0; k < 1 + i % 4; k++) {
            seed = seed * 1664525u + 1013904223u;
            size_t at = 16 + (seed >> 8) % (bytes - 16);
            copy[at] = (uint8_t)(seed >> 3);
        }
        CUresult result = cuModuleLoadData(&module, copy);
        if (result == CUDA_SUCCESS)
            OK(cuModuleUnload(module));
    }
}

static void test_lz4(void)
{
    /* "abcd", then a match of 4 + 15 + 5 bytes at distance 4, then five literals */
    static const uint8_t packed[] = {0x4f, 'a',  'b', 'c', 'd', 4,   0,
                                     5,    0x50, '1', '2', '3', '4', '5'};
    uint8_t out[33];
    CHECK(soft_lz4(packed, sizeof packed, out, 33));
    CHECK(memcmp(out, "abcdabcdabcdabcdabcdabcdabcd12345", 33) == 0);
    CHECK(!soft_lz4(packed, sizeof packed, out, 32));
    for (size_t cut = 0; cut < sizeof packed; cut++)
        CHECK(!soft_lz4(packed, cut, out, 33));
}

void test_images(void)
{
    struct fixture fixture;
    uint8_t fatbin[1024];
    CUmodule module;
    fixture_open(&fixture);
    size_t bytes = make_fatbin(fatbin);
    OK(cuModuleLoadData(&module, fatbin)); /* the sm_75 PTX, not the newer one */
    OK(cuModuleUnload(module));
    struct {
        uint32_t magic, version;
        const void *data, *more;
    } wrapper = {0x466243b1, 1, fatbin, NULL};
    OK(cuModuleLoadFatBinary(&module, &wrapper));
    OK(cuModuleUnload(module));
    wrapper.data = NULL;
    EXPECT(CUDA_ERROR_INVALID_IMAGE, cuModuleLoadFatBinary(&module, &wrapper));
    test_mutations(fatbin, bytes);
    memcpy(fatbin + 8, &(uint64_t){sizeof(struct entry) + 8}, 8); /* the ELF only */
    EXPECT(CUDA_ERROR_NO_BINARY_FOR_GPU, cuModuleLoadData(&module, fatbin));
    EXPECT(CUDA_ERROR_INVALID_IMAGE, cuModuleLoadData(&module, ""));
    EXPECT(CUDA_ERROR_INVALID_IMAGE, cuModuleLoadData(&module, "\1\2\3"));
    EXPECT(CUDA_ERROR_INVALID_IMAGE, cuModuleLoadData(&module, "not ptx"));
    EXPECT(CUDA_ERROR_INVALID_VALUE, cuModuleLoadData(&module, NULL));
    EXPECT(CUDA_ERROR_FILE_NOT_FOUND, cuModuleLoad(&module, "/nonexistent/file"));
    test_lz4();
    fixture_close(&fixture);
}
