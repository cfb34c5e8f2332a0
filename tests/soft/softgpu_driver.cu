// Kernels of test_softgpu_driver*.py.
#include <stdio.h>

__device__ int table[4] = {1, 2, 3, 4};
__constant__ float scale = 2.0f;

extern "C" __global__ void add(float *a, const float *b, int n)
{
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n)
        a[i] += scale * b[i] + table[i & 3];
}

extern "C" __global__ void store(int *address, int value)
{
    *address = value;
}

// Never ends by itself.
extern "C" __global__ void spin(volatile int *flag)
{
    while (*flag == 0)
        ;
}

// All blocks meet; only a grid that runs at once gets through.
extern "C" __global__ void meet(int *arrived, int *out)
{
    if (threadIdx.x == 0) {
        atomicAdd(arrived, 1);
        while (atomicAdd(arrived, 0) < (int)gridDim.x)
            ;
        out[blockIdx.x] = *arrived;
    }
}

// About `rounds` dependent steps a thread; notes when its block began.
extern "C" __global__ void work(unsigned *order, unsigned *ticket, unsigned mark, int rounds)
{
    unsigned x = threadIdx.x;
    if (threadIdx.x == 0)
        order[atomicAdd(ticket, 1)] = mark;
    for (int i = 0; i < rounds; i++)
        x = x * 1664525u + 1013904223u;
    if (x == 42)
        order[0] = x;
}

extern "C" __global__ void hello(int n)
{
    printf("block %d of %d\n", (int)blockIdx.x, n);
}
