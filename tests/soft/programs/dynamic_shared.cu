/* Dynamic shared memory, beside static, and beyond 48 KiB after opting in. */
#include "check.h"
#include <vector>

__global__ void reverse(int *data, int n)
{
    __shared__ int offset;
    extern __shared__ int buffer[];
    if (threadIdx.x == 0)
        offset = 1000;
    for (int i = threadIdx.x; i < n; i += blockDim.x)
        buffer[i] = data[i];
    __syncthreads();
    for (int i = threadIdx.x; i < n; i += blockDim.x)
        data[i] = buffer[n - 1 - i] + offset;
}

static void run(int n)
{
    std::vector<int> host(n);
    int *device;
    for (int i = 0; i < n; i++)
        host[i] = i * 3;
    CHECK(cudaMalloc(&device, n * 4));
    CHECK(cudaMemcpy(device, host.data(), n * 4, cudaMemcpyHostToDevice));
    reverse<<<1, 256, n * 4>>>(device, n);
    CHECK(cudaGetLastError());
    CHECK(cudaMemcpy(host.data(), device, n * 4, cudaMemcpyDeviceToHost));
    for (int i = 0; i < n; i++)
        EXPECT(host[i] == (n - 1 - i) * 3 + 1000, "n %d at %d: %d", n, i, host[i]);
    CHECK(cudaFree(device));
}

int main()
{
    run(64);
    run(5000);
    int *none = nullptr;
    reverse<<<1, 256, 60 * 1024>>>(none, 0);
    EXPECT(cudaGetLastError() != cudaSuccess, "60 KiB were given without opting in");
    CHECK(cudaFuncSetAttribute(reverse, cudaFuncAttributeMaxDynamicSharedMemorySize, 64 * 1024));
    run(15000);
    CHECK(cudaDeviceSynchronize());
    puts("ok");
}
