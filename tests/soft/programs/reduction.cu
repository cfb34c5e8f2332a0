/* Sums and maxima through warp shuffles, then shared memory, then one atomic per block. */
#include "check.h"
#include <algorithm>
#include <climits>
#include <vector>

template <typename T> __device__ T warp_sum(T value)
{
    for (int offset = 16; offset; offset /= 2)
        value += __shfl_down_sync(0xffffffffu, value, offset);
    return value;
}

__global__ void reduce(const int *input, int n, unsigned long long *sum, int *largest)
{
    __shared__ long long sums[32];
    __shared__ int maxima[32];
    long long local = 0;
    int top = INT_MIN;
    for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += gridDim.x * blockDim.x) {
        local += input[i];
        top = max(top, input[i]);
    }
    local = warp_sum(local);
    for (int mask = 16; mask; mask /= 2)
        top = max(top, __shfl_xor_sync(0xffffffffu, top, mask));
    int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    if (lane == 0) {
        sums[warp] = local;
        maxima[warp] = top;
    }
    __syncthreads();
    if (warp == 0) {
        int warps = blockDim.x / 32;
        local = warp_sum(lane < warps ? sums[lane] : 0LL);
        top = lane < warps ? maxima[lane] : INT_MIN;
        for (int mask = 16; mask; mask /= 2)
            top = max(top, __shfl_xor_sync(0xffffffffu, top, mask));
        if (lane == 0) {
            atomicAdd(sum, (unsigned long long)local);
            atomicMax(largest, top);
        }
    }
}

int main()
{
    const int n = 300007;
    std::vector<int> values(n);
    uint32_t seed = 3;
    long long wanted = 0;
    for (int &value : values) {
        value = (int)(next_random(&seed) % 20001) - 10000;
        wanted += value;
    }
    int *input, *largest, lowest = INT_MIN;
    unsigned long long *sum;
    CHECK(cudaMalloc(&input, n * sizeof(int)));
    CHECK(cudaMalloc(&sum, sizeof *sum));
    CHECK(cudaMalloc(&largest, sizeof *largest));
    CHECK(cudaMemcpy(input, values.data(), n * sizeof(int), cudaMemcpyHostToDevice));
    CHECK(cudaMemset(sum, 0, sizeof *sum));
    CHECK(cudaMemcpy(largest, &lowest, sizeof lowest, cudaMemcpyHostToDevice));
    reduce<<<40, 256>>>(input, n, sum, largest);
    long long got;
    int top;
    CHECK(cudaMemcpy(&got, sum, sizeof got, cudaMemcpyDeviceToHost));
    CHECK(cudaMemcpy(&top, largest, sizeof top, cudaMemcpyDeviceToHost));
    EXPECT(got == wanted, "sum %lld, not %lld", got, wanted);
    int highest = *std::max_element(values.begin(), values.end());
    EXPECT(top == highest, "maximum %d, not %d", top, highest);
    puts("ok");
}
