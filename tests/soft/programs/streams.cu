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

/* Says that it is there, and waits until the other one is: two of these end only if both are on the
 * device at once. */
__global__ void meet(volatile int *mine, volatile int *other)
{
    *mine = 1;
    while (!*other)
        ;
}

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

/* Kernels of two streams run at once. Judged by what must come first, not by time: if they did not,
 * the first one would never end. */
static void overlap()
{
    cudaStream_t first, second;
    int *flags, met[2] = {};
    CHECK(cudaStreamCreateWithFlags(&first, cudaStreamNonBlocking));
    CHECK(cudaStreamCreateWithFlags(&second, cudaStreamNonBlocking));
    CHECK(cudaMalloc(&flags, 8));
    CHECK(cudaMemset(flags, 0, 8));
    CHECK(cudaDeviceSynchronize());
    meet<<<1, 1, 0, first>>>(flags, flags + 1);
    CHECK_ERROR(cudaStreamQuery(first), cudaErrorNotReady);
    meet<<<1, 1, 0, second>>>(flags + 1, flags);
    CHECK(cudaDeviceSynchronize());
    CHECK(cudaMemcpy(met, flags, 8, cudaMemcpyDeviceToHost));
    EXPECT(met[0] == 1 && met[1] == 1, "kernels that met left %d and %d", met[0], met[1]);
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
