/* Long kernels and CUB's device-wide algorithms, argv[1] rounds; prints a hash of all results' bytes.
 * What a best-effort program computes must not depend on who else is on the device. */
#include "check.h"
#include <cub/device/device_radix_sort.cuh>
#include <cub/device/device_reduce.cuh>
#include <cub/device/device_scan.cuh>
#include <vector>

constexpr int N = 1 << 15;

/* Heavy blocks that write in place: one that ran twice, or in part, shows. */
__global__ void churn(unsigned *data, int turns)
{
    __shared__ unsigned shared[64];
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    unsigned x = data[i];
    for (int turn = 0; turn < turns; turn++)
        x = x * 1664525u + 1013904223u;
    shared[threadIdx.x] = x;
    __syncthreads();
    data[i] = x ^ shared[(threadIdx.x + 1) % 64];
}

__device__ unsigned arrived;

/* The last block folds what all blocks left. */
__global__ void fold(const unsigned *data, unsigned *partial, unsigned *out)
{
    unsigned sum = 0;
    for (int i = 0; i < N / 64; i++)
        sum = sum * 31 + data[(blockIdx.x * 977 + threadIdx.x + i * 64) % N];
    atomicAdd(&partial[blockIdx.x], sum);
    __threadfence();
    __shared__ bool last;
    __syncthreads();
    if (threadIdx.x == 0)
        last = atomicAdd(&arrived, 1u) == gridDim.x - 1;
    __syncthreads();
    if (!last)
        return;
    __threadfence();
    if (threadIdx.x == 0) {
        for (unsigned b = 0; b < gridDim.x; b++)
            out[0] = out[0] * 1099511u + ((volatile unsigned *)partial)[b];
        arrived = 0;
    }
}

static uint64_t hash = 14695981039346656037ull;

static void take(const void *device, size_t bytes)
{
    std::vector<uint8_t> host(bytes);
    CHECK(cudaMemcpy(host.data(), device, bytes, cudaMemcpyDeviceToHost));
    for (uint8_t byte : host)
        hash = (hash ^ byte) * 1099511628211ull;
}

int main(int argc, char **argv)
{
    int rounds = argc > 1 ? atoi(argv[1]) : 4, turns = argc > 2 ? atoi(argv[2]) : 20000;
    unsigned *data, *other, *partial, *out;
    void *scratch = nullptr;
    size_t most = 0, bytes = 0;
    CHECK(cudaMalloc(&data, N * 4));
    CHECK(cudaMalloc(&other, N * 4));
    CHECK(cudaMalloc(&partial, 256 * 4));
    CHECK(cudaMalloc(&out, 4));
    CHECK(cudaMemset(partial, 0, 256 * 4));
    CHECK(cudaMemset(out, 1, 4));
    std::vector<unsigned> host(N);
    for (int i = 0; i < N; i++)
        host[i] = i * 2654435761u;
    CHECK(cudaMemcpy(data, host.data(), N * 4, cudaMemcpyHostToDevice));
    CHECK(cub::DeviceReduce::Sum(nullptr, bytes, data, out, N));
    most = bytes;
    CHECK(cub::DeviceScan::InclusiveSum(nullptr, bytes, data, other, N));
    most = bytes > most ? bytes : most;
    CHECK(cub::DeviceRadixSort::SortKeys(nullptr, bytes, data, other, N));
    most = bytes > most ? bytes : most;
    CHECK(cudaMalloc(&scratch, most));
    for (int round = 0; round < rounds; round++) {
        churn<<<N / 64, 64>>>(data, turns);
        fold<<<256, 64>>>(data, partial, out);
        take(out, 4);
        bytes = most;
        CHECK(cub::DeviceReduce::Sum(scratch, bytes, data, out, N));
        take(out, 4);
        bytes = most;
        CHECK(cub::DeviceScan::InclusiveSum(scratch, bytes, data, other, N));
        take(other, N * 4);
        bytes = most;
        CHECK(cub::DeviceRadixSort::SortKeys(scratch, bytes, data, other, N));
        take(other, N * 4);
        take(data, N * 4);
        CHECK(cudaGetLastError());
    }
    printf("%016llx\nok\n", (unsigned long long)hash);
}
