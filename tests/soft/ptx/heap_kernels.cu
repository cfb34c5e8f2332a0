// malloc and free of device code, and barriers in shared memory; see ptx/test_heap.py.
#include <cuda/barrier>
#include <new>

// Each thread fills a list of its own, passes it on, and frees its neighbour's.
extern "C" __global__ void lists(int *sums, int *overlaps, int length, int rounds)
{
    __shared__ int *held[64];
    int sum = 0;
    for (int r = 0; r < rounds; r++) {
        int *mine = (int *)malloc(length * sizeof(int));
        if (!mine) {
            sums[blockIdx.x * blockDim.x + threadIdx.x] = -1;
            return;
        }
        for (int i = 0; i < length; i++)
            mine[i] = threadIdx.x * 1000 + i;
        held[threadIdx.x] = mine;
        __syncthreads();
        unsigned other = (threadIdx.x + 1) % blockDim.x;
        for (int i = 0; i < length; i++)
            if (held[other][i] != (int)other * 1000 + i)
                atomicAdd(overlaps, 1);
            else
                sum++;
        __syncthreads();
        free(held[other]);
        __syncthreads();
    }
    sums[blockIdx.x * blockDim.x + threadIdx.x] = sum;
}

extern "C" __global__ void keep(int **kept, size_t bytes)
{
    kept[blockIdx.x * blockDim.x + threadIdx.x] = (int *)malloc(bytes);
}

extern "C" __global__ void give_back(int **kept, long long offset)
{
    free((char *)kept[blockIdx.x * blockDim.x + threadIdx.x] + offset);
}

// Half of the block fills a buffer, the other half reads it, over and over.
extern "C" __global__ void pipeline(int *wrong, int rounds)
{
    using barrier = cuda::barrier<cuda::thread_scope_block>;
    __shared__ alignas(barrier) char memory[2 * sizeof(barrier)];
    __shared__ int buffer[64];
    barrier *full = (barrier *)memory, *empty = full + 1;
    unsigned half = blockDim.x / 2;
    if (threadIdx.x == 0) {
        new (full) barrier(blockDim.x);
        new (empty) barrier(blockDim.x);
    }
    __syncthreads();
    for (int r = 0; r < rounds; r++) {
        if (threadIdx.x < half) {
            buffer[threadIdx.x] = r * 1000 + threadIdx.x;
            barrier::arrival_token token = full->arrive();
            (void)token;
            empty->arrive_and_wait();
        } else {
            full->arrive_and_wait();
            unsigned from = (threadIdx.x + 1) % half;
            if (buffer[from] != r * 1000 + (int)from)
                atomicAdd(wrong, 1);
            barrier::arrival_token token = empty->arrive();
            (void)token;
        }
    }
}
