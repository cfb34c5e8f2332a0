/* Holds memory, streams and a module and keeps the device busy until it is killed, or for argv[1]
 * rounds; says "ready" once under way. What a client looks like when it dies at a bad moment. */
#include "check.h"
#include <vector>

__global__ void churn(unsigned *data, int n, int turns)
{
    for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += gridDim.x * blockDim.x) {
        unsigned x = data[i] + i;
        for (int turn = 0; turn < turns; turn++)
            x = x * 1664525u + 1013904223u;
        data[i] = x;
    }
}

int main(int argc, char **argv)
{
    const int n = 1 << 20;
    long rounds = argc > 1 ? atol(argv[1]) : -1;
    cudaStream_t streams[3];
    unsigned *data[3], *pinned;
    std::vector<unsigned> host(n);
    CHECK(cudaMallocHost(&pinned, n * 4));
    for (int s = 0; s < 3; s++) {
        CHECK(cudaStreamCreate(&streams[s]));
        CHECK(cudaMalloc(&data[s], n * 4));
        CHECK(cudaMemset(data[s], 0, n * 4));
    }
    churn<<<8, 64>>>(data[0], n, 1);
    CHECK(cudaDeviceSynchronize());
    puts("ready");
    fflush(stdout);
    for (long round = 0; round != rounds; round++) {
        for (int s = 0; s < 3; s++) {
            CHECK(cudaMemcpyAsync(data[s], pinned, n * 4, cudaMemcpyHostToDevice, streams[s]));
            churn<<<16, 64, 0, streams[s]>>>(data[s], n, 5);
        }
        CHECK(cudaMemcpy(host.data(), data[round % 3], n * 4, cudaMemcpyDeviceToHost));
        unsigned *extra;
        CHECK(cudaMalloc(&extra, 1 << 20));
        CHECK(cudaFree(extra));
    }
    CHECK(cudaDeviceSynchronize());
    puts("ok");
}
