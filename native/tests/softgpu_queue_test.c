#include <pthread.h>
#include <string.h>

#include "softgpu_fake.h"

static void test_order(const struct fixture *f)
{
    CUstream stream;
    CUdeviceptr fake = fake_new();
    OK(cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING));
    /* Launches of one stream follow one another; blocks are taken in order. */
    launch(f->wait, 1, stream, fake, 0);
    for (uint32_t i = 1; i <= 100; i++)
        launch(f->note, 1 + i % 3, stream, fake, i);
    EXPECT(CUDA_ERROR_NOT_READY, cuStreamQuery(stream));
    atomic_store(&fake_at(fake)->go, 1);
    OK(cuStreamSynchronize(stream));
    OK(cuStreamQuery(stream));
    uint32_t total = atomic_load(&fake_at(fake)->ticket), previous = 0;
    CHECK(total == 34 + 2 * 33 + 3 * 33 + 1);
    for (uint32_t i = 0; i < total; i++) {
        CHECK(fake_at(fake)->order[i] >> 16 >= previous);
        previous = fake_at(fake)->order[i] >> 16;
    }
    OK(cuStreamDestroy_v2(stream));
    OK(cuMemFree_v2(fake));
}

static void test_concurrent(const struct fixture *f)
{
    CUstream a, b;
    CUdeviceptr fake = fake_new(), other = fake_new();
    OK(cuStreamCreate(&a, CU_STREAM_NON_BLOCKING));
    OK(cuStreamCreate(&b, CU_STREAM_NON_BLOCKING));
    launch(f->wait, 1, a, fake, 0);
    launch(f->add, 10, b, other, 0);
    OK(cuStreamSynchronize(b)); /* though a is still busy */
    EXPECT(CUDA_ERROR_NOT_READY, cuStreamQuery(a));
    OK(cuStreamDestroy_v2(a)); /* what it has queued still runs */
    atomic_store(&fake_at(fake)->go, 1);
    OK(cuCtxSynchronize());
    CHECK(atomic_load(&fake_at(fake)->count) == 1 && atomic_load(&fake_at(other)->count) == 10);
    OK(cuStreamDestroy_v2(b));
    OK(cuMemFree_v2(fake));
    OK(cuMemFree_v2(other));
}

static void test_legacy(const struct fixture *f)
{
    CUstream blocking, free_running;
    CUdeviceptr fake = fake_new(), other = fake_new();
    OK(cuStreamCreate(&blocking, CU_STREAM_DEFAULT));
    OK(cuStreamCreate(&free_running, CU_STREAM_NON_BLOCKING));
    launch(f->wait, 1, blocking, fake, 0);
    launch(f->note, 1, NULL, fake, 1);     /* after the blocking stream's work */
    launch(f->note, 1, blocking, fake, 2); /* after the legacy stream's */
    launch(f->add, 1, free_running, other, 0);
    OK(cuStreamSynchronize(free_running));
    EXPECT(CUDA_ERROR_NOT_READY, cuStreamQuery(NULL));
    CHECK(atomic_load(&fake_at(fake)->ticket) == 0);
    atomic_store(&fake_at(fake)->go, 1);
    OK(cuCtxSynchronize());
    CHECK(fake_at(fake)->order[0] == 1u << 16 && fake_at(fake)->order[1] == 2u << 16);
    OK(cuStreamDestroy_v2(blocking));
    OK(cuStreamDestroy_v2(free_running));
    OK(cuMemFree_v2(fake));
    OK(cuMemFree_v2(other));
}

static void test_copy_order(const struct fixture *f)
{
    CUstream stream;
    CUdeviceptr fake = fake_new();
    uint64_t before = 7, after = 0;
    OK(cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING));
    launch(f->wait, 1, stream, fake, 0);
    /* Count = 7, behind the kernel. */
    OK(cuMemcpyHtoDAsync_v2(fake + 8192 - 8192, &before, 8, stream));
    launch(f->add, 5, stream, fake, 0);
    atomic_store(&fake_at(fake)->go, 1);
    OK(cuMemcpyDtoHAsync_v2(&after, fake, 8, stream));
    OK(cuStreamSynchronize(stream));
    CHECK(after == 12);
    OK(cuStreamDestroy_v2(stream));
    OK(cuMemFree_v2(fake));
}

static void host_function(void *user) { atomic_fetch_add((_Atomic uint32_t *)user, 1); }

static void stream_callback(CUstream stream, CUresult status, void *user)
{
    CHECK(status == CUDA_SUCCESS);
    host_function(user);
}

static void test_host_functions(const struct fixture *f)
{
    _Atomic uint32_t calls = 0;
    CUdeviceptr fake = fake_new();
    launch(f->wait, 1, NULL, fake, 0);
    OK(cuLaunchHostFunc(NULL, host_function, &calls));
    OK(cuStreamAddCallback(NULL, stream_callback, &calls, 0));
    CHECK(atomic_load(&calls) == 0);
    atomic_store(&fake_at(fake)->go, 1);
    OK(cuStreamSynchronize(NULL));
    CHECK(atomic_load(&calls) == 2);
    OK(cuMemFree_v2(fake));
}

static void test_cooperative(const struct fixture *f)
{
    CUstream streams[2];
    CUdeviceptr fakes[2];
    uint32_t mark = 0;
    for (int i = 0; i < 2; i++) {
        OK(cuStreamCreate(&streams[i], CU_STREAM_NON_BLOCKING));
        fakes[i] = fake_new();
    }
    /* All blocks of a grid run at once; two such grids do not get into each other's way. */
    for (int i = 0; i < 20; i++) {
        void *arguments[] = {&fakes[i % 2], &mark};
        OK(cuLaunchCooperativeKernel(f->meet, 3, 1, 1, 1, 1, 1, 0, streams[i % 2], arguments));
    }
    OK(cuCtxSynchronize());
    for (int i = 0; i < 2; i++) {
        CHECK(atomic_load(&fake_at(fakes[i])->count) == 30);
        OK(cuMemFree_v2(fakes[i]));
        OK(cuStreamDestroy_v2(streams[i]));
    }
}

static void *thread_launches(void *argument)
{
    const struct fixture *f = argument;
    CUdeviceptr fake;
    OK(cuCtxSetCurrent(f->context));
    fake = fake_new();
    for (int i = 0; i < 50; i++)
        launch(f->add, 2, CU_STREAM_PER_THREAD, fake, 0);
    OK(cuStreamSynchronize(CU_STREAM_PER_THREAD));
    CHECK(atomic_load(&fake_at(fake)->count) == 100);
    OK(cuMemFree_v2(fake));
    return NULL;
}

void test_streams(void)
{
    struct fixture fixture;
    pthread_t threads[4];
    fixture_open(&fixture);
    test_order(&fixture);
    test_concurrent(&fixture);
    test_legacy(&fixture);
    test_copy_order(&fixture);
    test_host_functions(&fixture);
    test_cooperative(&fixture);
    for (int i = 0; i < 4; i++)
        CHECK(pthread_create(&threads[i], NULL, thread_launches, &fixture) == 0);
    for (int i = 0; i < 4; i++)
        CHECK(pthread_join(threads[i], NULL) == 0);
    fixture_close(&fixture);
}

/* A worker that ends a block of a long launch takes the urgent launch first. */
void test_priorities(void)
{
    struct fixture f;
    CUstream low, high, blocker;
    int priority, least, greatest;
    fixture_open(&f);
    OK(cuCtxGetStreamPriorityRange(&least, &greatest));
    CHECK(least == 0 && greatest == -5);
    CUdeviceptr gate = fake_new(), notes = fake_new();
    OK(cuStreamCreateWithPriority(&low, CU_STREAM_NON_BLOCKING, 0));
    OK(cuStreamCreateWithPriority(&high, CU_STREAM_NON_BLOCKING, -100));
    OK(cuStreamCreateWithPriority(&blocker, CU_STREAM_NON_BLOCKING, -5));
    OK(cuStreamGetPriority(high, &priority));
    CHECK(priority == -5);
    launch(f.wait, 3, blocker, gate, 0); /* all workers are taken */
    await(&fake_at(gate)->entered, 3);
    launch(f.note, 50, low, notes, 1);
    launch(f.note, 10, high, notes, 2);
    atomic_store(&fake_at(gate)->go, 1);
    OK(cuCtxSynchronize());
    for (int i = 0; i < 7; i++) /* of the high ones, at most two are noted late by slow workers */
        CHECK(fake_at(notes)->order[i] >> 16 == 2);

    /* And one that is in the middle of a launch goes over to it. */
    OK(cuMemsetD8_v2(gate, 0, sizeof(struct fake)));
    launch(f.wait, 200, low, gate, 0);
    await(&fake_at(gate)->entered, 3);
    CUdeviceptr urgent = fake_new();
    launch(f.add, 5, high, urgent, 0);
    atomic_store(&fake_at(gate)->go, 1);
    OK(cuStreamSynchronize(high));
    OK(cuStreamSynchronize(low));
    CHECK(atomic_load(&fake_at(gate)->count) == 200);
    OK(cuStreamDestroy_v2(low));
    OK(cuStreamDestroy_v2(high));
    OK(cuStreamDestroy_v2(blocker));
    OK(cuMemFree_v2(gate));
    OK(cuMemFree_v2(notes));
    OK(cuMemFree_v2(urgent));
    fixture_close(&f);
}

void test_events(void)
{
    struct fixture f;
    CUstream a, b;
    CUevent start, end, untimed;
    float ms = -1;
    fixture_open(&f);
    CUdeviceptr fake = fake_new();
    OK(cuStreamCreate(&a, CU_STREAM_NON_BLOCKING));
    OK(cuStreamCreate(&b, CU_STREAM_NON_BLOCKING));
    OK(cuEventCreate(&start, CU_EVENT_DEFAULT));
    OK(cuEventCreate(&end, CU_EVENT_DEFAULT));
    OK(cuEventCreate(&untimed, CU_EVENT_DISABLE_TIMING));
    OK(cuEventQuery(start)); /* never recorded: nothing to wait for */
    OK(cuEventSynchronize(start));
    EXPECT(CUDA_ERROR_INVALID_HANDLE, cuEventElapsedTime(&ms, start, end));
    OK(cuEventRecord(start, a));
    launch(f.wait, 1, a, fake, 0);
    OK(cuEventRecord(end, a));
    OK(cuStreamWaitEvent(b, end, 0));
    launch(f.note, 1, b, fake, 3);
    EXPECT(CUDA_ERROR_NOT_READY, cuEventQuery(end));
    EXPECT(CUDA_ERROR_NOT_READY, cuEventElapsedTime(&ms, start, end));
    EXPECT(CUDA_ERROR_NOT_READY, cuStreamQuery(b));
    pause_ms(20);
    CHECK(atomic_load(&fake_at(fake)->ticket) == 0);
    atomic_store(&fake_at(fake)->go, 1);
    OK(cuEventSynchronize(end));
    OK(cuStreamSynchronize(b));
    CHECK(atomic_load(&fake_at(fake)->ticket) == 1);
    OK(cuEventElapsedTime_v2(&ms, start, end));
    CHECK(ms >= 19 && ms < 10000);
    OK(cuEventRecord(untimed, a));
    OK(cuEventSynchronize(untimed));
    EXPECT(CUDA_ERROR_INVALID_HANDLE, cuEventElapsedTime(&ms, start, untimed));
    /* Chains of streams that wait for one another, of any length. */
    CUstream chain[200];
    OK(cuMemsetD8_v2(fake, 0, sizeof(struct fake)));
    launch(f.wait, 1, a, fake, 0);
    OK(cuEventRecord(end, a));
    for (int i = 0; i < 200; i++) {
        OK(cuStreamCreate(&chain[i], CU_STREAM_NON_BLOCKING));
        OK(cuStreamWaitEvent(chain[i], end, 0));
        OK(cuEventRecord(end, chain[i]));
    }
    atomic_store(&fake_at(fake)->go, 1);
    OK(cuEventSynchronize(end));
    for (int i = 0; i < 200; i++)
        OK(cuStreamDestroy_v2(chain[i]));
    OK(cuStreamDestroy_v2(a));
    OK(cuEventQuery(start)); /* an event outlives its stream */
    OK(cuEventDestroy_v2(start));
    OK(cuEventDestroy_v2(end));
    OK(cuEventDestroy_v2(untimed));
    EXPECT(CUDA_ERROR_INVALID_HANDLE, cuEventQuery(end));
    OK(cuStreamDestroy_v2(b));
    OK(cuMemFree_v2(fake));
    fixture_close(&f);
}

void test_values(void)
{
    struct fixture f;
    CUstream a, b;
    fixture_open(&f);
    CUdeviceptr fake = fake_new(), words;
    OK(cuMemAlloc_v2(&words, 64));
    OK(cuMemsetD8_v2(words, 0, 64));
    OK(cuStreamCreate(&a, CU_STREAM_NON_BLOCKING));
    OK(cuStreamCreate(&b, CU_STREAM_NON_BLOCKING));
    OK(cuStreamWaitValue32_v2(a, words, 5, CU_STREAM_WAIT_VALUE_GEQ));
    launch(f.add, 1, a, fake, 0);
    OK(cuStreamWriteValue32_v2(b, words, 4, 0));
    OK(cuStreamSynchronize(b));
    EXPECT(CUDA_ERROR_NOT_READY, cuStreamQuery(a));
    OK(cuStreamWriteValue32_v2(b, words, 6, 0)); /* another stream's write */
    OK(cuStreamSynchronize(a));
    OK(cuStreamWaitValue64_v2(a, words + 8, 1ull << 40, CU_STREAM_WAIT_VALUE_EQ));
    launch(f.add, 1, a, fake, 0);
    __atomic_store_n((uint64_t *)(uintptr_t)(words + 8), 1ull << 40,
                     __ATOMIC_RELEASE); /* a host's, by nobody's leave */
    OK(cuStreamSynchronize(a));
    OK(cuStreamWaitValue32(a, words, 2, CU_STREAM_WAIT_VALUE_AND));
    OK(cuStreamWaitValue32(a, words, 0xffffffff, CU_STREAM_WAIT_VALUE_NOR));
    EXPECT(CUDA_ERROR_NOT_READY, cuStreamQuery(a));
    OK(cuStreamWriteValue32(b, words + 4, 1, 0));
    EXPECT(CUDA_ERROR_INVALID_VALUE, cuStreamWriteValue32(b, words + 2, 1, 0));
    EXPECT(CUDA_ERROR_INVALID_VALUE, cuStreamWriteValue32(b, 0x1000, 1, 0));
    EXPECT(CUDA_ERROR_INVALID_VALUE, cuStreamWriteValue32(b, words + 64, 1, 0));
    CHECK(atomic_load(&fake_at(fake)->count) == 2);
    OK(cuDevicePrimaryCtxReset_v2(0)); /* gives the hanging wait up */
    OK(cuCtxSetCurrent(NULL));
}
