/* Eight host threads, each with its data, on streams of their own and on the default stream. */
#include "check.h"
#include <atomic>
#include <thread>
#include <vector>

__global__ void mix(unsigned *data, int n, unsigned key)
{
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n)
        data[i] = (data[i] ^ key) * 2654435761u;
}

static void work(int id)
{
    const int n = 20011;
    cudaStream_t stream = nullptr; /* the default stream: per thread where the build says so */
    if (id % 2)
        CHECK(cudaStreamCreate(&stream));
    std::vector<unsigned> host(n);
    unsigned *device;
    CHECK(cudaMalloc(&device, n * 4));
    for (int turn = 0; turn < 10; turn++) {
        for (int i = 0; i < n; i++)
            host[i] = i * (id + 1);
        CHECK(cudaMemcpyAsync(device, host.data(), n * 4, cudaMemcpyHostToDevice, stream));
        for (unsigned key = 0; key < 5; key++)
            mix<<<(n + 127) / 128, 128, 0, stream>>>(device, n, key + id);
        CHECK(cudaMemcpyAsync(host.data(), device, n * 4, cudaMemcpyDeviceToHost, stream));
        CHECK(cudaStreamSynchronize(stream));
        for (int i = 0; i < n; i++) {
            unsigned wanted = i * (id + 1);
            for (unsigned key = 0; key < 5; key++)
                wanted = (wanted ^ (key + id)) * 2654435761u;
            EXPECT(host[i] == wanted, "thread %d turn %d at %d: %u, not %u", id, turn, i, host[i], wanted);
        }
    }
    CHECK(cudaFree(device));
    if (stream)
        CHECK(cudaStreamDestroy(stream));
}

int main()
{
    std::vector<std::thread> threads;
    for (int id = 0; id < 8; id++)
        threads.emplace_back(work, id);
    for (std::thread &thread : threads)
        thread.join();
    puts("ok");
}
