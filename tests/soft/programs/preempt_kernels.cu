/* Kernels for the tests of preemption: results do not depend on the order of blocks, and every block
 * leaves a trace that shows if it ran twice, in part, or not at all. */
#include <cub/block/block_radix_sort.cuh>
#include <cub/block/block_reduce.cuh>
#include <cub/block/block_scan.cuh>

#define TILE 16

/* Accumulates into c, so that a block that runs twice shows. */
extern "C" __global__ void matmul(const float *a, const float *b, float *c, int n)
{
    __shared__ float tile_a[TILE][TILE], tile_b[TILE][TILE];
    int x = threadIdx.x, y = threadIdx.y;
    int row = blockIdx.y * TILE + y, column = blockIdx.x * TILE + x;
    float sum = 0;
    for (int start = 0; start < n; start += TILE) {
        tile_a[y][x] = a[row * n + start + x];
        tile_b[y][x] = b[(start + y) * n + column];
        __syncthreads();
        for (int i = 0; i < TILE; i++)
            sum += tile_a[y][i] * tile_b[i][x];
        __syncthreads();
    }
    c[row * n + column] += sum;
}

/* Per block: warp shuffles, then the first warp over the warps' sums. */
extern "C" __global__ void shuffle_sum(const float *in, float *sums, int n)
{
    __shared__ float partial[32];
    float sum = 0;
    for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += gridDim.x * blockDim.x)
        sum += in[i];
    for (int delta = 16; delta > 0; delta /= 2)
        sum += __shfl_down_sync(0xffffffffu, sum, delta);
    if (threadIdx.x % 32 == 0)
        partial[threadIdx.x / 32] = sum;
    __syncthreads();
    if (threadIdx.x < 32) {
        sum = threadIdx.x < blockDim.x / 32 ? partial[threadIdx.x] : 0;
        for (int delta = 16; delta > 0; delta /= 2)
            sum += __shfl_down_sync(0xffffffffu, sum, delta);
        if (threadIdx.x == 0)
            sums[blockIdx.x] += sum;
    }
}

__device__ unsigned arrived;
__device__ float block_sums[1024];

/* The block that comes last, whichever it is, adds up what all have left: one word of output, and the
 * counter is as it was, for the next launch. */
extern "C" __global__ void last_block_sum(const float *in, float *out, int n)
{
    __shared__ bool last;
    typedef cub::BlockReduce<float, 128> Reduce;
    __shared__ typename Reduce::TempStorage storage;
    int linear = blockIdx.y * gridDim.x + blockIdx.x, blocks = gridDim.x * gridDim.y;
    float sum = 0;
    for (int i = linear * blockDim.x + threadIdx.x; i < n; i += blocks * blockDim.x)
        sum += in[i];
    sum = Reduce(storage).Sum(sum);
    if (threadIdx.x == 0) {
        block_sums[linear] = sum;
        __threadfence();
        last = atomicAdd(&arrived, 1u) == (unsigned)blocks - 1;
    }
    __syncthreads();
    if (!last)
        return;
    __threadfence();
    sum = 0;
    for (int i = threadIdx.x; i < blocks; i += blockDim.x)
        sum += *(volatile float *)&block_sums[i];
    sum = Reduce(storage).Sum(sum);
    if (threadIdx.x == 0) {
        *out += sum;
        arrived = 0;
    }
}

extern "C" __global__ void histogram(const unsigned *in, unsigned *bins, int n)
{
    __shared__ unsigned local[256];
    for (int bin = threadIdx.x; bin < 256; bin += blockDim.x)
        local[bin] = 0;
    __syncthreads();
    for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += gridDim.x * blockDim.x)
        atomicAdd(&local[in[i] & 255], 1u);
    __syncthreads();
    for (int bin = threadIdx.x; bin < 256; bin += blockDim.x)
        atomicAdd(&bins[bin], local[bin]);
}

/* Every thread of a grid of three dimensions counts itself, and says who it is. Some leave at once. */
extern "C" __global__ void places(unsigned *runs, unsigned *names)
{
    unsigned block = (blockIdx.z * gridDim.y + blockIdx.y) * gridDim.x + blockIdx.x;
    unsigned thread = (threadIdx.z * blockDim.y + threadIdx.y) * blockDim.x + threadIdx.x;
    unsigned size = blockDim.x * blockDim.y * blockDim.z;
    if ((block + thread) % 7 == 3)
        return;
    unsigned index = block * size + thread;
    atomicAdd(&runs[index], 1u);
    names[index] += blockIdx.x | blockIdx.y << 8 | blockIdx.z << 16 | gridDim.x << 24 ^ gridDim.z * gridDim.y;
}

/* CUB within a block: sort, then scan of the sorted keys. */
extern "C" __global__ void sort_scan(const unsigned *in, unsigned *sorted, unsigned *sums)
{
    typedef cub::BlockRadixSort<unsigned, 64, 4> Sort;
    typedef cub::BlockScan<unsigned, 64> Scan;
    __shared__ union {
        typename Sort::TempStorage sort;
        typename Scan::TempStorage scan;
    } storage;
    unsigned keys[4];
    int base = (blockIdx.x * 64 + threadIdx.x) * 4;
    for (int i = 0; i < 4; i++)
        keys[i] = in[base + i];
    Sort(storage.sort).Sort(keys);
    __syncthreads();
    for (int i = 0; i < 4; i++)
        sorted[base + i] += keys[i];
    Scan(storage.scan).InclusiveSum(keys, keys);
    for (int i = 0; i < 4; i++)
        sums[base + i] += keys[i];
}

/* Look-back: a block waits for its predecessor. Gives up in the end, so that a test of what goes wrong
 * ends by itself: `starved` counts. */
extern "C" __global__ void chained_scan(const unsigned *in, unsigned *out, volatile unsigned *status,
                                        volatile unsigned *totals, unsigned *starved, unsigned patience)
{
    typedef cub::BlockScan<unsigned, 64> Scan;
    __shared__ typename Scan::TempStorage storage;
    __shared__ unsigned before;
    unsigned total, value = in[blockIdx.x * 64 + threadIdx.x];
    Scan(storage).InclusiveSum(value, value, total);
    if (threadIdx.x == 0) {
        before = 0;
        if (blockIdx.x > 0) {
            unsigned left = patience;
            while (status[blockIdx.x - 1] == 0 && --left > 0)
                ;
            if (left == 0)
                atomicAdd(starved, 1u);
            __threadfence();
            before = totals[blockIdx.x - 1];
        }
        totals[blockIdx.x] = before + total;
        __threadfence();
        status[blockIdx.x] = 1;
    }
    __syncthreads();
    out[blockIdx.x * 64 + threadIdx.x] = before + value;
}

/* The block's first thread raises a flag; every thread counts itself. Under a guard whose threads decide
 * each for itself, threads that come to it later than that leave: the block runs in part. */
extern "C" __global__ void raise_inside(volatile unsigned *flag, unsigned *runs)
{
    if (threadIdx.x == 0)
        *flag = 1;
    atomicAdd(&runs[blockIdx.x * blockDim.x + threadIdx.x], 1u);
}
