/* Images that are wrong give CUDA's error codes; good ones load afterwards. argv[1]: a good fatbin,
 * argv[2]: seed, argv[3]: how many random mutations. */
#include "driver.h"

#include <sys/mman.h>
#include <unistd.h>

static uint32_t state;

static uint32_t next_random(void)
{
    state ^= state << 13;
    state ^= state >> 17;
    state ^= state << 5;
    return state;
}

static uint8_t *read_file(const char *path, size_t *bytes)
{
    FILE *file = fopen(path, "rb");
    EXPECT(file, "cannot open %s", path);
    fseek(file, 0, SEEK_END);
    *bytes = (size_t)ftell(file);
    rewind(file);
    uint8_t *data = malloc(*bytes + 1);
    EXPECT(fread(data, 1, *bytes, file) == *bytes, "cannot read %s", path);
    data[*bytes] = 0;
    fclose(file);
    return data;
}

/* Memory with nothing to be read behind it: the size of an image is what it says of itself, and a wrong one
 * must not lead into the heap, where reading on is harmless but an address sanitizer's error. */
static uint8_t *fenced(size_t bytes)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE), whole = (bytes + page - 1) / page * page;
    uint8_t *at = mmap(NULL, whole + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    EXPECT(at != MAP_FAILED && mprotect(at + whole, page, PROT_NONE) == 0, "no memory");
    return at;
}

/* Text that is not even a PTX header: drivers have called it both. */
static void check_text(const char *text)
{
    CUmodule module;
    CUresult result = p_cuModuleLoadData(&module, text);
    EXPECT(result == CUDA_ERROR_INVALID_IMAGE || result == CUDA_ERROR_INVALID_PTX, "'%s' gave %d (%s)", text,
           (int)result, error_name(result));
}

static void check_named(void)
{
    CUmodule module;
    check_text("this is no PTX");
    check_text("");
    CHECK_ERROR(cuModuleLoadData(&module, NULL), CUDA_ERROR_INVALID_VALUE);
    CHECK_ERROR(cuModuleLoadData(&module, ".version 7.0\n.target sm_70\n.address_size 64\n"
                                          ".visible .entry k()\n{\n frobnicate.u32 %r1;\n}\n"),
                CUDA_ERROR_INVALID_PTX);
    CHECK_ERROR(cuModuleLoad(&module, "/nowhere/at/all.cubin"), CUDA_ERROR_FILE_NOT_FOUND);

    char log[512] = "";
    CUjit_option options[] = {CU_JIT_ERROR_LOG_BUFFER, CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES};
    void *values[] = {log, (void *)(uintptr_t)sizeof log};
    CHECK_ERROR(cuModuleLoadDataEx(&module, ".version 7.0\n.target sm_70\n.address_size 64\n"
                                            ".visible .entry k()\n{\n .reg .b32 %r<2>;\n frobnicate.u32 %r1, 5;\n}\n",
                                   2, options, values),
                CUDA_ERROR_INVALID_PTX);
    EXPECT(strstr(log, "frobnicate"), "the log does not name the opcode: '%s'", log);
    EXPECT(strstr(log, "7"), "the log does not name the line: '%s'", log);
}

int main(int argc, char **argv)
{
    size_t bytes;
    CUdevice device;
    CUcontext context;
    CUmodule module;
    CUfunction function;
    EXPECT(argc == 4, "usage");
    uint8_t *good = read_file(argv[1], &bytes), *bad = fenced(bytes + 64);
    state = (uint32_t)atoi(argv[2]) | 1;
    int loaded = 0, count = atoi(argv[3]);
    load_driver();
    CHECK(cuInit(0));
    CHECK(cuDeviceGet(&device, 0));
    CHECK(cuCtxCreate_v2(&context, 0, device));
    check_named();
    for (int turn = 0; turn < count; turn++) {
        memset(bad + bytes, 0, 64);
        memcpy(bad, good, bytes);
        for (uint32_t left = 1 + next_random() % 4; left; left--) {
            uint32_t at = next_random() % (next_random() % 2 ? 96 : bytes);
            bad[at] = (uint8_t)next_random();
        }
        CUresult result = p_cuModuleLoadData(&module, bad);
        if (result == CUDA_SUCCESS) {
            loaded++;
            CHECK(cuModuleUnload(module));
        } else
            EXPECT(result == CUDA_ERROR_INVALID_IMAGE || result == CUDA_ERROR_INVALID_PTX ||
                       result == CUDA_ERROR_NO_BINARY_FOR_GPU || result == CUDA_ERROR_INVALID_SOURCE ||
                       result == CUDA_ERROR_UNSUPPORTED_PTX_VERSION || result == CUDA_ERROR_INVALID_VALUE ||
                       result == CUDA_ERROR_NOT_FOUND,
                   "mutation %d gave %d (%s)", turn, (int)result, error_name(result));
    }
    CHECK(cuModuleLoadData(&module, good));
    CHECK_ERROR(cuModuleGetFunction(&function, module, "no_such_kernel"), CUDA_ERROR_NOT_FOUND);
    CHECK(cuModuleUnload(module));
    compute(3);
    printf("%d of %d mutations still load\nok\n", loaded, count);
    return 0;
}
