#include <cstdio>

__device__ int table[4] = {100, 200, 300, 400};
static __device__ int hidden = 9;

__device__ int twice(int value) { return 2 * value; }

__device__ int other(int value)
{
    if (value == 0)
        printf("of other %d\n", hidden);
    return value * hidden;
}
