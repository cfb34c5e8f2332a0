/* Device code in several files, linked when it is loaded: functions, variables and tables of the others, and
 * names that each file has for itself. */
#include "../check.h"

extern __device__ int table[4];
__device__ int twice(int value);
__device__ int other(int value);
static __device__ int hidden = 5;

struct Base {
    __device__ virtual int of(int) const { return 1; }
};
struct Derived : Base {
    __device__ int of(int value) const override { return value + hidden; }
};

__device__ int (*pointer)(int) = twice;
__device__ int *third = &table[2];
__constant__ int constants[3] = {1, 2, 3};

__global__ void combine(int *out)
{
    Derived derived;
    const Base *base = &derived;
    if (threadIdx.x == 0)
        printf("of main %d\n", hidden);
    out[threadIdx.x] = base->of(pointer(*third)) + constants[1] + other(threadIdx.x) + twice(table[threadIdx.x % 4]);
}

int main()
{
    int *device, host[64];
    CHECK(cudaMalloc(&device, sizeof host));
    combine<<<1, 64>>>(device);
    CHECK(cudaMemcpy(host, device, sizeof host, cudaMemcpyDeviceToHost));
    const int known[4] = {100, 200, 300, 400};
    for (int i = 0; i < 64; i++) {
        int wanted = 2 * 300 + 5 + 2 + 9 * i + 2 * known[i % 4];
        EXPECT(host[i] == wanted, "thread %d: %d, not %d", i, host[i], wanted);
    }
    int value = 7;
    CHECK(cudaMemcpyToSymbol(constants, &value, sizeof value, sizeof value));
    combine<<<1, 64>>>(device);
    CHECK(cudaMemcpy(host, device, sizeof host, cudaMemcpyDeviceToHost));
    EXPECT(host[0] == 2 * 300 + 5 + 7 + 2 * 100, "a constant that was set: %d", host[0]);
    puts("ok");
}
