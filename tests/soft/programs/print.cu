/* Device printf: conversions, order inside a thread, and flushing by a synchronisation. */
#include "check.h"

__global__ void hello(const char *)
{
    printf("block %d thread %u: %5.2f %s %c %lld %x%%\n", blockIdx.x, threadIdx.x, 1.5 * threadIdx.x, "text", 'z',
           -5000000000LL, 0xbeefu);
}

__global__ void plain() { printf("no arguments\n"); }

int main()
{
    setvbuf(stdout, nullptr, _IONBF, 0);
    puts("before");
    hello<<<2, 2>>>(nullptr);
    plain<<<1, 1>>>();
    CHECK(cudaDeviceSynchronize());
    puts("after");
}
