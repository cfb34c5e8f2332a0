/* A great many tiny kernels: tiny COUNT. Each adds one; prints "ran COUNT in SECONDS s". */
#include "check.h"
#include <chrono>

__global__ void add(unsigned long long *counter) { *counter += 1; }

int main(int argc, char **argv)
{
    unsigned long long *counter, found, count = argc > 1 ? strtoull(argv[1], nullptr, 10) : 0;
    CHECK(cudaMalloc(&counter, sizeof *counter));
    CHECK(cudaMemset(counter, 0, sizeof *counter));
    CHECK(cudaDeviceSynchronize());
    puts("ready");
    fflush(stdout);
    auto began = std::chrono::steady_clock::now();
    for (unsigned long long i = 0; i < count; i++)
        add<<<1, 1>>>(counter);
    CHECK(cudaGetLastError());
    CHECK(cudaMemcpy(&found, counter, sizeof found, cudaMemcpyDeviceToHost));
    EXPECT(found == count, "%llu of %llu ran", found, count);
    printf("ran %llu in %.2f s\n", count,
           std::chrono::duration<double>(std::chrono::steady_clock::now() - began).count());
    return 0;
}
