/* Kernels that go wrong: the right CUDA error comes, and it stays. argv[1] says which fault. */
#include "check.h"
#include <cassert>
#include <cstring>

__global__ void write_wild(int *address) { *address = 1; }
__global__ void write_past(int *data, long long index) { data[index] = 1; }
__global__ void read_null(int *out) { *out = *(volatile int *)nullptr; }
__global__ void stop() { __trap(); }
__global__ void insist(int value) { assert(value == 42); }
__global__ void misalign(char *data) { *(volatile int *)(data + 1) = 1; }
__global__ void fill(int *data) { data[threadIdx.x] = threadIdx.x; }

int main(int argc, char **argv)
{
    const char *fault = argc > 1 ? argv[1] : "";
    cudaError_t wanted = cudaErrorIllegalAddress;
    int *data;
    CHECK(cudaMalloc(&data, 1024));
    fill<<<1, 256>>>(data);
    CHECK(cudaDeviceSynchronize());
    if (!strcmp(fault, "wild"))
        write_wild<<<4, 32>>>((int *)0x10);
    else if (!strcmp(fault, "far"))
        write_past<<<1, 1>>>(data, 1LL << 46);
    else if (!strcmp(fault, "host")) {
        int local = 5;
        write_wild<<<1, 1>>>(&local);
    } else if (!strcmp(fault, "null"))
        read_null<<<1, 32>>>(data);
    else if (!strcmp(fault, "trap")) {
        stop<<<2, 32>>>();
        wanted = cudaErrorLaunchFailure;
    } else if (!strcmp(fault, "assert")) {
        insist<<<1, 2>>>(42);
        CHECK(cudaDeviceSynchronize());
        insist<<<1, 2>>>(43);
        wanted = cudaErrorAssert;
    } else if (!strcmp(fault, "misaligned")) {
        misalign<<<1, 1>>>((char *)data);
        wanted = cudaErrorMisalignedAddress;
    } else
        return 3;
    CHECK_ERROR(cudaDeviceSynchronize(), wanted);
    /* Sticky: whatever follows gives the same. */
    CHECK_ERROR(cudaDeviceSynchronize(), wanted);
    int *more;
    CHECK_ERROR(cudaMalloc(&more, 16), wanted);
    int value;
    CHECK_ERROR(cudaMemcpy(&value, data, 4, cudaMemcpyDeviceToHost), wanted);
    fill<<<1, 256>>>(data);
    EXPECT(cudaGetLastError() == wanted, "a launch after the fault was accepted");
    puts("ok");
}
