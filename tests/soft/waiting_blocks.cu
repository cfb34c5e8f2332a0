// Blocks that wait for other blocks; see test_waiting_blocks.py.
#include <cooperative_groups.h>

namespace cg = cooperative_groups;

// All blocks count up, and look at the count between two barriers of the grid.
extern "C" __global__ void rounds(unsigned *count, unsigned *wrong, int times)
{
    cg::grid_group grid = cg::this_grid();
    for (unsigned i = 1; i <= (unsigned)times; i++) {
        atomicAdd(count, 1);
        grid.sync();
        if (*(volatile unsigned *)count != i * grid.size())
            atomicAdd(wrong, 1);
        grid.sync();
    }
}

// Each block but the last waits for the next: the first one to start ends last.
extern "C" __global__ void backwards(unsigned *done, unsigned *order)
{
    if (threadIdx.x == 0) {
        unsigned next = blockIdx.x + 1;
        while (next < gridDim.x && ((volatile unsigned *)done)[next] == 0)
            ;
        order[blockIdx.x] = atomicAdd(done + gridDim.x, 1);
        atomicExch(done + blockIdx.x, 1);
    }
    __syncthreads();
}

// The same, asleep between looks.
extern "C" __global__ void patient(unsigned *done, unsigned *order)
{
    unsigned next = blockIdx.x + 1;
    while (next < gridDim.x && atomicAdd(done + next, 0) == 0)
        __nanosleep(100);
    if (threadIdx.x == 0) {
        order[blockIdx.x] = atomicAdd(done + gridDim.x, 1);
        atomicExch(done + blockIdx.x, 1);
    }
}

// Waits for a word that nobody writes.
extern "C" __global__ void forever(unsigned *word)
{
    while (*(volatile unsigned *)word == 0)
        ;
}

// Each block waits for the one before it; one of them takes 300 ms, as when its thread has no CPU.
extern "C" __global__ void in_line(unsigned *turn, unsigned slow)
{
    if (threadIdx.x == 0) {
        while (*(volatile unsigned *)turn != blockIdx.x)
            ;
        if (blockIdx.x == slow)
            for (int i = 0; i < 300; i++)
                __nanosleep(1000000);
        atomicExch(turn, blockIdx.x + 1);
    }
    __syncthreads();
}
