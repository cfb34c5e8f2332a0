/* One block that never ends: only killing the program, or the executor, stops it. */
#include "check.h"

__global__ void spin(volatile int *flag)
{
    while (!*flag)
        ;
}

int main()
{
    int *flag;
    CHECK(cudaMalloc(&flag, 4));
    CHECK(cudaMemset(flag, 0, 4));
    spin<<<1, 1>>>(flag);
    puts("ready");
    fflush(stdout);
    cudaError_t error = cudaDeviceSynchronize();
    printf("error %d\n", (int)error);
    return error == cudaSuccess;
}
