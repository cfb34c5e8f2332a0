/* Order inside a stream, across streams by events, against the legacy default stream; overlap. */
#include "check.h"
#include <vector>

__global__ void set(int *data, int n, int value)
{
    for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += gridDim.x * blockDim.x)
        data[i] = value;
}

__global__ void step(int *data, int n, int factor, int term)
{
    for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += gridDim.x * blockDim.x)
        data[i] = data[i] * factor + term;
}

/* Waits, not for ever, for another kernel to raise the flag: succeeds only if the two overlap. */
__global__ void wait_for(volatile int *flag, int *seen)
{
    for (long long turn = 0; turn < 2000000000LL; turn++)
        if (*flag) {
            *seen = 1;
            return;
        }
}

__global__ void raise_flag(volatile int *flag) { *flag = 1; }

constexpr int N = 50000;

static void chains()
{
    const int streams = 4;
    cudaStream_t stream[streams];
    int *device[streams];
    std::vector<int *> host(streams);
    for (int s = 0; s < streams; s++) {
        CHECK(cudaStreamCreateWithFlags(&stream[s], s % 2 ? cudaStreamNonBlocking : cudaStreamDefault));
        CHECK(cudaMallocHost(&host[s], N * sizeof(int)));
        CHECK(cudaMalloc(&device[s], N * sizeof(int)));
        for (int i = 0; i < N; i++)
            host[s][i] = i + s;
    }
    for (int s = 0; s < streams; s++) {
        CHECK(cudaMemcpyAsync(device[s], host[s], N * 4, cudaMemcpyHostToDevice, stream[s]));
        for (int turn = 0; turn < 10; turn++)
            step<<<8, 128, 0, stream[s]>>>(device[s], N, turn % 2 ? 3 : 1, s);
        CHECK(cudaMemcpyAsync(host[s], device[s], N * 4, cudaMemcpyDeviceToHost, stream[s]));
    }
    for (int s = 0; s < streams; s++) {
        CHECK(cudaStreamSynchronize(stream[s]));
        CHECK_ERROR(cudaStreamQuery(stream[s]), cudaSuccess);
        for (int i = 0; i < N; i++) {
            int wanted = i + s;
            for (int turn = 0; turn < 10; turn++)
                wanted = wanted * (turn % 2 ? 3 : 1) + s;
            EXPECT(host[s][i] == wanted, "stream %d at %d: %d, not %d", s, i, host[s][i], wanted);
        }
        CHECK(cudaFreeHost(host[s]));
        CHECK(cudaFree(device[s]));
        CHECK(cudaStreamDestroy(stream[s]));
    }
}

static void events()
{
    cudaStream_t first, second;
    cudaEvent_t begin, middle, end;
    int *data;
    std::vector<int> host(N);
    CHECK(cudaStreamCreateWithFlags(&first, cudaStreamNonBlocking));
    CHECK(cudaStreamCreateWithPriority(&second, cudaStreamNonBlocking, -1));
    CHECK(cudaEventCreate(&begin));
    CHECK(cudaEventCreateWithFlags(&middle, cudaEventDisableTiming));
    CHECK(cudaEventCreate(&end));
    CHECK(cudaMalloc(&data, N * 4));
    for (int turn = 0; turn < 5; turn++) {
        CHECK(cudaEventRecord(begin, first));
        set<<<4, 64, 0, first>>>(data, N, turn);
        CHECK(cudaEventRecord(middle, first));
        CHECK(cudaStreamWaitEvent(second, middle, 0));
        step<<<4, 64, 0, second>>>(data, N, 2, 1);
        CHECK(cudaEventRecord(middle, second));
        CHECK(cudaStreamWaitEvent(first, middle, 0));
        step<<<4, 64, 0, first>>>(data, N, 10, 3);
        CHECK(cudaEventRecord(end, first));
        CHECK(cudaEventSynchronize(end));
        CHECK(cudaEventQuery(end));
        float milliseconds = -1;
        CHECK(cudaEventElapsedTime(&milliseconds, begin, end));
        EXPECT(milliseconds > 0 && milliseconds < 60000, "elapsed %g ms", milliseconds);
        CHECK(cudaMemcpy(host.data(), data, N * 4, cudaMemcpyDeviceToHost));
        for (int i = 0; i < N; i++)
            EXPECT(host[i] == (turn * 2 + 1) * 10 + 3, "turn %d at %d: %d", turn, i, host[i]);
    }
    CHECK_ERROR(cudaEventElapsedTime(nullptr, begin, end), cudaErrorInvalidValue);
    CHECK(cudaEventDestroy(begin));
    CHECK(cudaEventDestroy(middle));
    CHECK(cudaEventDestroy(end));
    CHECK(cudaStreamDestroy(first));
    CHECK(cudaStreamDestroy(second));
    CHECK(cudaFree(data));
}

/* A blocking stream and the legacy default stream wait for one another. */
static void legacy()
{
    cudaStream_t stream;
    int *data, value = 0;
    CHECK(cudaStreamCreate(&stream));
    CHECK(cudaMalloc(&data, N * 4));
    set<<<4, 64, 0, stream>>>(data, N, 5);
    step<<<4, 64>>>(data, N, 3, 1);
    step<<<4, 64, 0, stream>>>(data, N, 2, 1);
    CHECK(cudaMemcpy(&value, data + N - 1, 4, cudaMemcpyDeviceToHost));
    EXPECT(value == 33, "default stream order: %d", value);
    CHECK(cudaStreamDestroy(stream));
    CHECK(cudaFree(data));
}

static void overlap()
{
    cudaStream_t first, second;
    int *flags, seen = 0;
    CHECK(cudaStreamCreateWithFlags(&first, cudaStreamNonBlocking));
    CHECK(cudaStreamCreateWithFlags(&second, cudaStreamNonBlocking));
    CHECK(cudaMalloc(&flags, 8));
    CHECK(cudaMemset(flags, 0, 8));
    CHECK(cudaDeviceSynchronize());
    wait_for<<<1, 1, 0, first>>>(flags, flags + 1);
    raise_flag<<<1, 1, 0, second>>>(flags);
    CHECK(cudaDeviceSynchronize());
    CHECK(cudaMemcpy(&seen, flags + 1, 4, cudaMemcpyDeviceToHost));
    EXPECT(seen, "kernels of two streams did not overlap");
    CHECK(cudaFree(flags));
}

int main()
{
    chains();
    events();
    legacy();
    overlap();
    puts("ok");
}
