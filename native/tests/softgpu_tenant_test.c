#include <pthread.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "softgpu_fake.h"
#include "tally/address.h"

static void test_isolation(void)
{
    struct fixture f, g;
    uint32_t a, b;
    uint64_t base, bytes, busy, blocks;
    CUstream stream;
    OK(softgpuTenantCreate(&a));
    OK(softgpuTenantCreate(&b));
    OK(softgpuTenantSet(a));
    fixture_open(&f);
    CUdeviceptr memory = fake_new();
    OK(softgpuTenantRegion(a, &base, &bytes));
    CHECK(memory > base && memory < base + bytes);
    OK(cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING));
    launch(f.add, 100, stream, memory, 0);
    OK(cuStreamSynchronize(stream));
    OK(softgpuTenantUsage(a, &busy, &blocks));
    CHECK(blocks == 100 && busy > 0);

    OK(softgpuTenantSet(b));
    fixture_open(&g);
    CUdeviceptr own = fake_new();
    EXPECT(CUDA_ERROR_INVALID_HANDLE, cuStreamQuery(stream));
    EXPECT(CUDA_ERROR_INVALID_HANDLE, try_launch(f.add, 1, NULL, own, 0));
    EXPECT(CUDA_ERROR_INVALID_HANDLE, try_launch(g.add, 1, stream, own, 0));
    EXPECT(CUDA_ERROR_INVALID_VALUE, cuMemcpyDtoH_v2(&blocks, memory, 8));
    EXPECT(CUDA_ERROR_INVALID_VALUE, cuMemFree_v2(memory));

    /* A fault is sticky for its tenant, drops the work behind it, and touches nobody else. */
    launch(g.fault, 3, NULL, own, 0);
    EXPECT(CUDA_ERROR_ILLEGAL_ADDRESS, cuCtxSynchronize());
    EXPECT(CUDA_ERROR_ILLEGAL_ADDRESS, try_launch(g.add, 1, NULL, own, 0));
    CHECK(cuMemFree_v2(own) == CUDA_ERROR_ILLEGAL_ADDRESS);
    OK(softgpuTenantSet(a));
    launch(f.add, 100, stream, memory, 0);
    OK(cuCtxSynchronize());
    CHECK(atomic_load(&fake_at(memory)->count) == 200);
    OK(softgpuTenantDestroy(b));
    OK(softgpuTenantDestroy(a));
    EXPECT(CUDA_ERROR_INVALID_VALUE, softgpuTenantDestroy(a));
    EXPECT(CUDA_ERROR_CONTEXT_IS_DESTROYED, cuCtxSynchronize());
    OK(softgpuTenantSet(0));
    OK(cuDevicePrimaryCtxRelease_v2(0));
    OK(cuDevicePrimaryCtxRelease_v2(0));
}

static void *copying_thread(void *argument)
{
    const struct fixture *f = argument;
    uint8_t bytes[4096] = {0};
    CUresult result;
    OK(cuCtxSetCurrent(f->context));
    OK(softgpuTenantSet(f->tenant));
    do
        result = cuMemcpyHtoD_v2(f->memory, bytes, sizeof bytes);
    while (result == CUDA_SUCCESS);
    EXPECT(CUDA_ERROR_ILLEGAL_ADDRESS, result);
    return NULL;
}

/* A fault may come at any moment of another thread's call. */
static void test_fault_during_calls(void)
{
    for (int round = 0; round < 30; round++) {
        struct fixture f;
        pthread_t thread;
        OK(softgpuTenantCreate(&f.tenant));
        OK(softgpuTenantSet(f.tenant));
        fixture_open(&f);
        CUdeviceptr fake = fake_new();
        OK(cuMemAlloc_v2(&f.memory, 4096));
        CHECK(pthread_create(&thread, NULL, copying_thread, &f) == 0);
        pause_ms(round % 3);
        launch(f.fault, 3, CU_STREAM_PER_THREAD, fake, 0);
        CHECK(pthread_join(thread, NULL) == 0);
        OK(softgpuTenantDestroy(f.tenant));
        OK(softgpuTenantSet(0));
        OK(cuDevicePrimaryCtxRelease_v2(0));
    }
}

/* Who asks at the moment of the fault hears of it: work that has failed is over, but not well. */
static void test_fault_during_queries(void)
{
    for (int round = 0; round < 300; round++) {
        struct fixture f;
        CUstream stream;
        CUevent event;
        CUresult result;
        OK(softgpuTenantCreate(&f.tenant));
        OK(softgpuTenantSet(f.tenant));
        fixture_open(&f);
        CUdeviceptr fake = fake_new();
        OK(cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING));
        OK(cuEventCreate(&event, CU_EVENT_DISABLE_TIMING));
        launch(f.fault, 3, stream, fake, 0);
        bool recorded = round % 2 && cuEventRecord(event, stream) == CUDA_SUCCESS;
        do
            result = recorded ? cuEventQuery(event) : cuStreamQuery(stream);
        while (result == CUDA_ERROR_NOT_READY);
        CHECK(result == CUDA_ERROR_ILLEGAL_ADDRESS);
        OK(softgpuTenantDestroy(f.tenant));
        OK(softgpuTenantSet(0));
        OK(cuDevicePrimaryCtxRelease_v2(0));
    }
}

/* Everything that can be under way when a tenant goes. */
static void test_destroy(void)
{
    for (int round = 0; round < 20; round++) {
        struct fixture f;
        uint32_t tenant;
        CUstream a, b, c;
        CUevent event;
        size_t before, after, total;
        OK(cuDevicePrimaryCtxRetain(&f.context, 0));
        OK(cuCtxSetCurrent(f.context));
        OK(cuMemGetInfo_v2(&before, &total));
        OK(softgpuTenantCreate(&tenant));
        OK(softgpuTenantSet(tenant));
        fixture_open(&f);
        CUdeviceptr fake = fake_new();
        OK(cuStreamCreate(&a, CU_STREAM_NON_BLOCKING));
        OK(cuStreamCreate(&b, CU_STREAM_NON_BLOCKING));
        OK(cuStreamCreate(&c, CU_STREAM_NON_BLOCKING));
        OK(cuEventCreate(&event, 0));
        launch(f.wait, 5, a, fake, 0); /* never ends by itself */
        for (int i = 0; i < 20; i++)
            launch(f.add, 3, a, fake, 0);
        OK(cuEventRecord(event, a));
        OK(cuStreamWaitEvent(b, event, 0));
        launch(f.add, 3, b, fake, 0);
        OK(cuStreamWaitValue32(c, fake, 1, CU_STREAM_WAIT_VALUE_EQ));
        launch(f.add, 3, c, fake, 0);
        if (round % 2)
            await(&fake_at(fake)->entered, 2);
        if (round % 3 == 0)
            OK(cuStreamDestroy_v2(a));
        OK(softgpuTenantDestroy(tenant));
        OK(softgpuTenantSet(0));
        OK(cuMemGetInfo_v2(&after, &total));
        CHECK(before == after);
        OK(cuDevicePrimaryCtxRelease_v2(0));
        OK(cuDevicePrimaryCtxRelease_v2(0));
    }
}

/* Pinned memory that another process maps can lose its pages: an error, not a signal. */
static void test_pinned(void)
{
    enum { BYTES = 1 << 16 };
    struct fixture f;
    uint32_t tenant;
    CUstream stream;
    uint64_t base = TALLY_PINNED_BASE(0u);
    int file = memfd_create("pinned", 0);
    CHECK(ftruncate(file, BYTES) == 0);
    CHECK(mmap((void *)base, BYTES, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED_NOREPLACE, file,
               0) != MAP_FAILED);
    OK(softgpuTenantCreate(&tenant));
    OK(softgpuTenantSet(tenant));
    fixture_open(&f);
    OK(softgpuTenantSetPinned(tenant, base, BYTES));
    CUdeviceptr device;
    OK(cuMemAlloc_v2(&device, BYTES));
    OK(cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING));
    memset((void *)base, 3, BYTES);
    OK(cuMemcpyHtoDAsync_v2(device, (void *)base, BYTES, stream));
    OK(cuMemsetD32Async(base, 5, 4, stream));
    OK(cuStreamWriteValue32(stream, base + 16, 9, 0));
    OK(cuStreamWaitValue32(stream, base + 16, 9, CU_STREAM_WAIT_VALUE_EQ));
    OK(cuStreamSynchronize(stream));
    CHECK(*(uint8_t *)(uintptr_t)device == 3 && ((uint32_t *)base)[3] == 5 &&
          ((uint32_t *)base)[4] == 9);
    EXPECT(CUDA_ERROR_INVALID_VALUE,
           cuMemcpyHtoDAsync_v2(device, (void *)(base + 1), BYTES, stream));
    CHECK(ftruncate(file, 0) == 0);
    CUresult result = cuMemcpyHtoDAsync_v2(device, (void *)base, BYTES, stream);
    CHECK(result == CUDA_SUCCESS || result == CUDA_ERROR_ILLEGAL_ADDRESS);
    EXPECT(CUDA_ERROR_ILLEGAL_ADDRESS, cuStreamSynchronize(stream));
    OK(softgpuTenantDestroy(tenant));
    OK(softgpuTenantSet(0));
    OK(cuDevicePrimaryCtxRelease_v2(0));
    munmap((void *)base, BYTES);
    close(file);
}

static struct softgpu_launch_times last_times;
static _Atomic uint32_t reports;

static void launch_done(void *user, const struct softgpu_launch_times *times)
{
    last_times = *times;
    atomic_fetch_add(&reports, 1);
}

static void test_launch_times(void)
{
    struct fixture f;
    fixture_open(&f);
    CUdeviceptr fake = fake_new();
    OK(softgpuSetLaunchDone(launch_done, NULL));
    launch(f.add, 4, NULL, fake, 0);
    softgpuLaunchTag(77);
    launch(f.wait, 2, NULL, fake, 0);
    softgpuLaunchTag(0);
    pause_ms(5);
    atomic_store(&fake_at(fake)->go, 1);
    OK(cuStreamSynchronize(NULL));
    CHECK(atomic_load(&reports) == 1); /* before the stream goes on */
    CHECK(last_times.tag == 77 && last_times.blocks == 2 && last_times.error == 0);
    CHECK(last_times.end_ns - last_times.start_ns > 1000000 && last_times.busy_ns > 0);
    CHECK(last_times.yielded_ns == 0 && last_times.active_ns > 1000000);
    OK(softgpuSetLaunchDone(NULL, NULL));
    OK(cuMemFree_v2(fake));
    fixture_close(&f);
}

/* A launch in the middle of which all workers go over to an urgent one. */
static void test_yield_times(void)
{
    struct fixture f;
    CUstream low, high;
    fixture_open(&f);
    CUdeviceptr gate = fake_new(), urgent = fake_new();
    OK(cuStreamCreateWithPriority(&low, CU_STREAM_NON_BLOCKING, 0));
    OK(cuStreamCreateWithPriority(&high, CU_STREAM_NON_BLOCKING, -5));
    OK(softgpuSetLaunchDone(launch_done, NULL));
    softgpuLaunchTag(78);
    launch(f.wait, 50, low, gate, 0);
    softgpuLaunchTag(0);
    await(&fake_at(gate)->entered, 3);
    launch(f.wait, 3, high, urgent, 0);
    atomic_store(&fake_at(gate)->go, 1);
    await(&fake_at(urgent)->entered, 3);
    pause_ms(5);
    atomic_store(&fake_at(urgent)->go, 1);
    OK(cuCtxSynchronize());
    CHECK(last_times.tag == 78 && last_times.blocks == 50);
    CHECK(last_times.yielded_ns > last_times.start_ns &&
          last_times.yielded_ns + 4000000 < last_times.end_ns);
    CHECK(last_times.active_ns > 0 &&
          last_times.active_ns + 4000000 < last_times.end_ns - last_times.start_ns);
    OK(softgpuSetLaunchDone(NULL, NULL));
    OK(cuStreamDestroy_v2(low));
    OK(cuStreamDestroy_v2(high));
    OK(cuMemFree_v2(gate));
    OK(cuMemFree_v2(urgent));
    fixture_close(&f);
}

void test_tenants(void)
{
    test_isolation();
    test_fault_during_calls();
    test_fault_during_queries();
    test_destroy();
    test_pinned();
    test_launch_times();
    test_yield_times();
}

void test_handles(void)
{
    struct fixture f;
    uint64_t seed = 88172645463325252ull;
    float ms;
    unsigned count;
    fixture_open(&f);
    CUstream stale;
    OK(cuStreamCreate(&stale, 0));
    OK(cuStreamDestroy_v2(stale));
    CUstream fresh;
    OK(cuStreamCreate(&fresh, 0));
    CHECK(fresh != stale);
    EXPECT(CUDA_ERROR_INVALID_HANDLE, cuStreamQuery(stale));
    EXPECT(CUDA_ERROR_INVALID_HANDLE, cuStreamQuery((CUstream)f.add)); /* another kind */
    for (int i = 0; i < 100000; i++) {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        void *handle = (void *)(i % 2 ? seed : (uint64_t)(uintptr_t)fresh ^ (1ull << (seed % 64)));
        if (handle == fresh || (uint64_t)(uintptr_t)handle <= 2)
            continue;
        EXPECT(CUDA_ERROR_INVALID_HANDLE, cuStreamQuery(handle));
        EXPECT(CUDA_ERROR_INVALID_HANDLE, cuEventQuery(handle));
        EXPECT(CUDA_ERROR_INVALID_HANDLE, cuEventElapsedTime(&ms, handle, handle));
        EXPECT(CUDA_ERROR_INVALID_HANDLE, cuModuleGetFunctionCount(&count, handle));
        EXPECT(CUDA_ERROR_INVALID_HANDLE, cuLibraryUnload(handle));
        EXPECT(CUDA_ERROR_INVALID_CONTEXT, cuCtxSetCurrent(handle));
    }
    OK(cuStreamDestroy_v2(fresh));
    fixture_close(&f);
}

/* ---- stress: threads with tenants of their own do everything at once ------------------------ */

static void *stress_thread(void *argument)
{
    uint32_t seed = (uint32_t)(uintptr_t)argument, tenant;
    for (int round = 0; round < 6; round++) {
        struct fixture f;
        CUstream streams[3];
        CUevent event;
        uint64_t expected = 0, got;
        OK(softgpuTenantCreate(&tenant));
        OK(softgpuTenantSet(tenant));
        fixture_open(&f);
        CUdeviceptr fake = fake_new(), big;
        OK(cuMemAlloc_v2(&big, 8 << 20));
        OK(cuEventCreate(&event, 0));
        for (int i = 0; i < 3; i++)
            OK(cuStreamCreateWithPriority(&streams[i], i == 0 ? 0 : CU_STREAM_NON_BLOCKING, -i));
        for (int i = 0; i < 300; i++) {
            seed = seed * 1664525u + 1013904223u;
            unsigned which = seed >> 30 ? (seed >> 20) % 3 : 3;
            CUstream stream = which < 3 ? streams[which] : NULL;
            CUdeviceptr own = big + which * (2 << 20); /* streams race, their memory must not */
            switch ((seed >> 10) % 8) {
            case 0:
                OK(cuEventRecord(event, stream));
                break;
            case 1:
                OK(cuStreamWaitEvent(stream, event, 0));
                break;
            case 2:
                OK(cuMemsetD8Async(own, 1, (seed >> 8) % (2 << 20), stream));
                break;
            case 3:
                OK(cuMemcpyDtoDAsync_v2(own + (1 << 20), own, (seed >> 8) % (1 << 20), stream));
                break;
            case 4:
                OK(cuStreamSynchronize(stream));
                break;
            case 5:
                OK(cuStreamWriteValue32(stream, own, seed, 0));
                break;
            default:
                launch(f.add, 1 + (seed >> 25) % 20, stream, fake, 0);
                expected += 1 + (seed >> 25) % 20;
            }
        }
        if (round % 2) {
            OK(cuCtxSynchronize());
            OK(cuMemcpyDtoH_v2(&got, fake, 8));
            CHECK(got == expected);
        }
        OK(softgpuTenantDestroy(tenant));
        OK(softgpuTenantSet(0));
        OK(cuDevicePrimaryCtxRelease_v2(0));
    }
    return NULL;
}

void test_stress(void)
{
    pthread_t threads[4];
    CUcontext context;
    OK(cuDevicePrimaryCtxRetain(&context, 0)); /* so that no thread's release is the last */
    for (uintptr_t i = 0; i < 4; i++)
        CHECK(pthread_create(&threads[i], NULL, stress_thread, (void *)(i + 1)) == 0);
    for (int i = 0; i < 4; i++)
        CHECK(pthread_join(threads[i], NULL) == 0);
    OK(cuDevicePrimaryCtxRelease_v2(0));
}
