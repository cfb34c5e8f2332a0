/* Wrong arguments give CUDA's errors, and leave the program able to go on. */
#include "check.h"

__global__ void fill(int *data, int value) { data[threadIdx.x] = value; }

int main()
{
    int *data, *none, host[64];
    CHECK(cudaMalloc(&data, sizeof host));
    CHECK_ERROR(cudaMalloc(&none, (size_t)1 << 50), cudaErrorMemoryAllocation);
    CHECK_ERROR(cudaGetLastError(), cudaErrorMemoryAllocation);
    CHECK_ERROR(cudaGetLastError(), cudaSuccess);
    CHECK_ERROR(cudaFree(data + 1), cudaErrorInvalidValue);
    cudaGetLastError();
    CHECK_ERROR(cudaMemcpy(data, host, sizeof host, (cudaMemcpyKind)77), cudaErrorInvalidMemcpyDirection);
    cudaGetLastError();
    fill<<<1, 2000>>>(data, 1);
    EXPECT(cudaGetLastError() != cudaSuccess, "2000 threads in a block were accepted");
    fill<<<dim3(1, 70000), 64>>>(data, 1);
    EXPECT(cudaGetLastError() != cudaSuccess, "70000 blocks in y were accepted");
    fill<<<1, 0>>>(data, 1);
    EXPECT(cudaGetLastError() != cudaSuccess, "an empty block was accepted");
    CHECK_ERROR(cudaSetDevice(99), cudaErrorInvalidDevice);
    cudaGetLastError();

    fill<<<1, 64>>>(data, 6);
    CHECK(cudaGetLastError());
    CHECK(cudaMemcpy(host, data, sizeof host, cudaMemcpyDeviceToHost));
    for (int value : host)
        EXPECT(value == 6, "after the errors: %d", value);
    CHECK(cudaFree(data));
    CHECK(cudaFree(nullptr));
    puts("ok");
}
