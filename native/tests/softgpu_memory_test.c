#include <string.h>

#include "softgpu_fake.h"

void test_device(void)
{
    struct fixture fixture;
    int count, value, major;
    char name[64], bus[32];
    CUuuid first, again;
    CUdevice device;
    const char *text;
    void *function;
    OK(cuDeviceGetCount(&count));
    CHECK(count == 1);
    OK(cuDeviceGet(&device, 0));
    EXPECT(CUDA_ERROR_INVALID_DEVICE, cuDeviceGet(&device, 1));
    EXPECT(CUDA_ERROR_INVALID_DEVICE, cuDeviceGet(&device, -1));
    OK(cuDeviceGetName(name, sizeof name, 0));
    CHECK(strcmp(name, "Tally softgpu") == 0);
    OK(cuDeviceGetUuid_v2(&first, 0));
    OK(cuDeviceGetUuid(&again, 0));
    CHECK(memcmp(&first, &again, sizeof first) == 0);
    OK(cuDeviceGetAttribute(&major, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR, 0));
    OK(cuDeviceGetAttribute(&value, CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT, 0));
    CHECK(major == 8 && value == 3);
    for (int i = 1; i < CU_DEVICE_ATTRIBUTE_MAX; i++)
        OK(cuDeviceGetAttribute(&value, (CUdevice_attribute)i, 0));
    EXPECT(CUDA_ERROR_INVALID_VALUE, cuDeviceGetAttribute(&value, CU_DEVICE_ATTRIBUTE_MAX, 0));
    OK(cuDeviceGetPCIBusId(bus, sizeof bus, 0));
    OK(cuDeviceGetByPCIBusId(&device, bus));
    CHECK(device == 0);
    OK(cuGetErrorName(CUDA_ERROR_ILLEGAL_ADDRESS, &text));
    CHECK(strcmp(text, "CUDA_ERROR_ILLEGAL_ADDRESS") == 0);
    EXPECT(CUDA_ERROR_INVALID_VALUE, cuGetErrorString((CUresult)12345, &text));
    OK(cuGetProcAddress_v2("cuMemAlloc", &function, 12000, 0, NULL));
    CHECK(function == (void *)cuMemAlloc_v2);
    OK(cuGetProcAddress_v2("cuCtxSynchronize", &function, 12000, 0, NULL));
    CHECK(function == (void *)cuCtxSynchronize);
    EXPECT(CUDA_ERROR_NOT_FOUND, cuGetProcAddress_v2("cuNoSuchThing", &function, 12000, 0, NULL));
    CHECK(function == NULL);

    EXPECT(CUDA_ERROR_INVALID_CONTEXT, cuCtxSynchronize());
    fixture_open(&fixture);
    CUcontext other, popped;
    OK(cuCtxCreate_v2(&other, 0, 0));
    OK(cuCtxGetCurrent(&popped));
    CHECK(popped == other);
    OK(cuCtxPopCurrent_v2(&popped));
    CHECK(popped == other);
    OK(cuCtxDestroy_v2(other));
    EXPECT(CUDA_ERROR_INVALID_CONTEXT, cuCtxSetCurrent(other));
    OK(cuCtxGetCurrent(&popped));
    CHECK(popped == fixture.context);
    fixture_close(&fixture);
}

static void test_limits(void)
{
    CUdeviceptr whole, more, blocks[64];
    size_t before, total, after;
    OK(cuMemGetInfo_v2(&before, &total));
    CHECK(total == 256ull << 20);
    OK(cuMemAlloc_v2(&whole, before));
    EXPECT(CUDA_ERROR_OUT_OF_MEMORY, cuMemAlloc_v2(&more, 1));
    OK(cuMemGetInfo_v2(&after, &total));
    CHECK(after == 0);
    OK(cuMemFree_v2(whole));
    EXPECT(CUDA_ERROR_INVALID_VALUE, cuMemFree_v2(whole));
    EXPECT(CUDA_ERROR_INVALID_VALUE, cuMemAlloc_v2(&more, 0));
    EXPECT(CUDA_ERROR_OUT_OF_MEMORY, cuMemAlloc_v2(&more, SIZE_MAX));
    /* Holes of all sizes close again. */
    for (int i = 0; i < 64; i++)
        OK(cuMemAlloc_v2(&blocks[i], 1000u * (unsigned)(i + 1)));
    for (int i = 0; i < 64; i++)
        OK(cuMemFree_v2(blocks[(i * 37) % 64]));
    OK(cuMemGetInfo_v2(&after, &total));
    CHECK(after == before);
    OK(cuMemAlloc_v2(&more, before));
    CHECK(more == whole);
    OK(cuMemFree_v2(more));
}

/* However many small pieces somebody takes, others still get theirs. */
static void test_many(void)
{
    enum { MANY = 1 << 16 };
    CUdeviceptr *pieces = malloc(MANY * sizeof *pieces), mine;
    uint32_t greedy, other;
    int count = 0;
    OK(softgpuTenantCreate(&greedy));
    OK(softgpuTenantCreate(&other));
    OK(softgpuTenantSet(greedy));
    while (count < MANY && cuMemAlloc_v2(&pieces[count], 16) == CUDA_SUCCESS)
        count++;
    CHECK(count >= 10000 && count < MANY);
    OK(softgpuTenantSet(other));
    OK(cuMemAlloc_v2(&mine, 16));
    OK(softgpuTenantSet(greedy));
    for (int i = 0; i < count; i += 2)
        OK(cuMemFree_v2(pieces[i]));
    for (int i = 0; i < count; i += 2)
        OK(cuMemAlloc_v2(&pieces[i], 16));
    OK(softgpuTenantDestroy(greedy));
    OK(softgpuTenantDestroy(other));
    OK(softgpuTenantSet(0));
    free(pieces);
}

static void test_ranges(void)
{
    CUdeviceptr a, b, base;
    size_t bytes, pitch;
    unsigned type;
    OK(cuMemAlloc_v2(&a, 5000));
    OK(cuMemAlloc_v2(&b, 5000));
    CHECK((b > a ? b - a : a - b) >= 8192 + 4096); /* a guard page lies between */
    OK(cuMemGetAddressRange_v2(&base, &bytes, a + 4999));
    CHECK(base == a && bytes == 5000);
    EXPECT(CUDA_ERROR_NOT_FOUND, cuMemGetAddressRange_v2(&base, &bytes, a + 5000));
    OK(cuPointerGetAttribute(&type, CU_POINTER_ATTRIBUTE_MEMORY_TYPE, a));
    CHECK(type == CU_MEMORYTYPE_DEVICE);
    OK(cuMemFree_v2(a));
    OK(cuMemFree_v2(b));
    OK(cuMemAllocPitch_v2(&a, &pitch, 100, 10, 4));
    CHECK(pitch >= 100 && pitch % 256 == 0);
    OK(cuMemFree_v2(a));
}

static void test_host(void)
{
    void *pinned, *plain = malloc(8192);
    CUdeviceptr device;
    unsigned flags, type;
    OK(cuMemHostAlloc(&pinned, 10000, CU_MEMHOSTALLOC_PORTABLE));
    memset(pinned, 1, 10000);
    OK(cuMemHostGetDevicePointer_v2(&device, pinned, 0));
    OK(cuMemHostGetFlags(&flags, pinned));
    CHECK(flags & CU_MEMHOSTALLOC_PORTABLE);
    OK(cuPointerGetAttribute(&type, CU_POINTER_ATTRIBUTE_MEMORY_TYPE, device));
    CHECK(type == CU_MEMORYTYPE_HOST);
    EXPECT(CUDA_ERROR_INVALID_VALUE, cuMemFree_v2(device));
    OK(cuMemFreeHost(pinned));
    EXPECT(CUDA_ERROR_INVALID_VALUE, cuMemFreeHost(pinned));
    OK(cuMemHostRegister_v2(plain, 8192, 0));
    EXPECT(CUDA_ERROR_HOST_MEMORY_ALREADY_REGISTERED,
           cuMemHostRegister_v2((char *)plain + 100, 10, 0));
    OK(cuMemHostGetDevicePointer_v2(&device, plain, 0));
    OK(cuMemHostUnregister(plain));
    EXPECT(CUDA_ERROR_HOST_MEMORY_NOT_REGISTERED, cuMemHostUnregister(plain));
    free(plain);
}

void test_memory(void)
{
    struct fixture fixture;
    fixture_open(&fixture);
    OK(cuModuleUnload(fixture.module)); /* its variables count as device memory */
    test_limits();
    test_many();
    test_ranges();
    test_host();
    fixture_open(&fixture);
    OK(cuDevicePrimaryCtxRelease_v2(0));
    fixture_close(&fixture);
}

/* ---- copies --------------------------------------------------------------------------------- */

static void test_linear(void)
{
    enum { BYTES = 3 << 20 };
    uint8_t *from = malloc(BYTES), *to = malloc(BYTES);
    CUdeviceptr a, b;
    CUstream stream;
    for (int i = 0; i < BYTES; i++)
        from[i] = (uint8_t)(i * 7 + i / 251);
    OK(cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING));
    OK(cuMemAlloc_v2(&a, BYTES));
    OK(cuMemAlloc_v2(&b, BYTES));
    OK(cuMemcpyHtoDAsync_v2(a, from, BYTES, stream));
    OK(cuMemcpyDtoDAsync_v2(b, a, BYTES, stream));
    OK(cuMemcpyDtoHAsync_v2(to, b, BYTES, stream));
    OK(cuStreamSynchronize(stream));
    CHECK(memcmp(from, to, BYTES) == 0);
    /* A small pageable source may be overwritten as soon as the call returns. */
    for (uint32_t i = 0; i < 100; i++)
        OK(cuMemcpyHtoDAsync_v2(a + 4 * i, &i, sizeof i, stream));
    OK(cuStreamSynchronize(stream));
    OK(cuMemcpyDtoH_v2(to, a, 400));
    for (uint32_t i = 0; i < 100; i++)
        CHECK(((uint32_t *)to)[i] == i);
    OK(cuMemcpy(a, (CUdeviceptr)(uintptr_t)from, 100));
    EXPECT(CUDA_ERROR_INVALID_VALUE, cuMemcpyHtoD_v2(a + BYTES - 10, from, 11));
    EXPECT(CUDA_ERROR_INVALID_VALUE, cuMemcpyDtoH_v2(to, a + BYTES, 1));
    EXPECT(CUDA_ERROR_INVALID_VALUE, cuMemcpyDtoH_v2(to, (CUdeviceptr)(uintptr_t)from, 1));
    EXPECT(CUDA_ERROR_INVALID_VALUE, cuMemcpyHtoD_v2(0, from, 1));
    EXPECT(CUDA_ERROR_INVALID_VALUE, cuMemcpyHtoD_v2(a, NULL, 1));
    EXPECT(CUDA_ERROR_INVALID_VALUE, cuMemcpyHtoD_v2(a, from, SIZE_MAX));
#ifndef __SANITIZE_THREAD__ /* which has no shadow for such an address */
    /* Nothing is mapped there. */
    EXPECT(CUDA_ERROR_INVALID_VALUE, cuMemcpyHtoD_v2(a, (void *)16, 8));
    EXPECT(CUDA_ERROR_INVALID_VALUE, cuMemcpyDtoHAsync_v2((void *)16, a, 8, stream));
#endif
    OK(cuMemcpyHtoD_v2(a, from, 0));
    OK(cuMemFree_v2(a));
    OK(cuMemFree_v2(b));
    OK(cuStreamDestroy_v2(stream));
    free(from);
    free(to);
}

static void test_boxes(void)
{
    uint8_t host[20 * 10 * 5], back[8 * 6 * 3];
    CUdeviceptr device;
    for (size_t i = 0; i < sizeof host; i++)
        host[i] = (uint8_t)i;
    OK(cuMemAlloc_v2(&device, 4096));
    CUDA_MEMCPY3D in = {
        .srcMemoryType = CU_MEMORYTYPE_HOST,
        .srcHost = host,
        .srcPitch = 20,
        .srcHeight = 10,
        .srcXInBytes = 2,
        .srcY = 1,
        .srcZ = 1,
        .dstMemoryType = CU_MEMORYTYPE_DEVICE,
        .dstDevice = device,
        .dstPitch = 32,
        .dstHeight = 8,
        .WidthInBytes = 8,
        .Height = 6,
        .Depth = 3,
    };
    OK(cuMemcpy3D_v2(&in));
    CUDA_MEMCPY3D out = {
        .srcMemoryType = CU_MEMORYTYPE_DEVICE,
        .srcDevice = device,
        .srcPitch = 32,
        .srcHeight = 8,
        .dstMemoryType = CU_MEMORYTYPE_HOST,
        .dstHost = back,
        .dstPitch = 8,
        .dstHeight = 6,
        .WidthInBytes = 8,
        .Height = 6,
        .Depth = 3,
    };
    OK(cuMemcpy3D_v2(&out));
    for (int z = 0; z < 3; z++)
        for (int y = 0; y < 6; y++)
            for (int x = 0; x < 8; x++)
                CHECK(back[(z * 6 + y) * 8 + x] == host[((z + 1) * 10 + y + 1) * 20 + x + 2]);
    CUDA_MEMCPY2D flat = {
        .srcMemoryType = CU_MEMORYTYPE_DEVICE,
        .srcDevice = device,
        .srcPitch = 32,
        .srcY = 2,
        .dstMemoryType = CU_MEMORYTYPE_HOST,
        .dstHost = back,
        .dstPitch = 8,
        .WidthInBytes = 8,
        .Height = 2,
    };
    OK(cuMemcpy2D_v2(&flat));
    CHECK(back[0] == host[(10 + 3) * 20 + 2] && back[8] == host[(10 + 4) * 20 + 2]);
    flat.Height = 1000;
    EXPECT(CUDA_ERROR_INVALID_VALUE, cuMemcpy2D_v2(&flat));
    flat.Height = SIZE_MAX;
    EXPECT(CUDA_ERROR_INVALID_VALUE, cuMemcpy2D_v2(&flat));
    flat.Height = 1;
    flat.srcMemoryType = CU_MEMORYTYPE_ARRAY;
    EXPECT(CUDA_ERROR_NOT_SUPPORTED, cuMemcpy2D_v2(&flat));
    OK(cuMemFree_v2(device));
}

static void test_fills(void)
{
    enum { WORDS = 1 << 19 };
    uint32_t *back = malloc(WORDS * 4);
    CUdeviceptr device;
    OK(cuMemAlloc_v2(&device, WORDS * 4));
    OK(cuMemsetD32_v2(device, 0x12345678, WORDS));
    OK(cuMemcpyDtoH_v2(back, device, WORDS * 4));
    for (int i = 0; i < WORDS; i++)
        CHECK(back[i] == 0x12345678);
    OK(cuMemsetD16_v2(device, 0xabcd, 3));
    OK(cuMemsetD8_v2(device + 6, 0xef, 1));
    OK(cuMemsetD2D8Async(device + 64, 32, 9, 4, 3, NULL));
    OK(cuMemcpyDtoH_v2(back, device, 256));
    CHECK(back[0] == 0xabcdabcd && back[1] == 0x12efabcd);
    CHECK(back[16] == 0x09090909 && back[17] == 0x12345678 && back[24] == 0x09090909 &&
          back[32] == 0x09090909);
    EXPECT(CUDA_ERROR_INVALID_VALUE, cuMemsetD32_v2(device + 1, 0, 1));
    EXPECT(CUDA_ERROR_INVALID_VALUE, cuMemsetD32_v2(device, 0, WORDS + 1));
    EXPECT(CUDA_ERROR_INVALID_VALUE, cuMemsetD32_v2(device, 0, SIZE_MAX / 2));
    EXPECT(CUDA_ERROR_INVALID_VALUE, cuMemsetD2D32_v2(device, 8, 0, 4, 4));
    OK(cuMemFree_v2(device));
    free(back);
}

void test_copies(void)
{
    struct fixture fixture;
    fixture_open(&fixture);
    test_linear();
    test_boxes();
    test_fills();
    fixture_close(&fixture);
}
