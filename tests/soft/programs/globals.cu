/* __constant__ and __device__ variables: initial values, symbols, addresses, kernel access. */
#include "check.h"
#include <cstring>

__constant__ float weights[4] = {1.0f, 2.0f, 3.0f, 4.0f};
__device__ int counter = 41;
__device__ int table[8] = {1, 1, 2, 3, 5, 8, 13, 21};
__device__ int *cursor = &table[5]; /* an initial value that holds an address */
__device__ unsigned char bytes[3] = {7, 8, 9};

__global__ void use(float *out)
{
    int i = threadIdx.x;
    out[i] = weights[i] * table[i] + *cursor;
    if (i == 0)
        counter += bytes[2];
}

int main()
{
    float *out, host[4], changed[4] = {10, 20, 30, 40};
    int number = 0;
    CHECK(cudaMalloc(&out, sizeof host));
    use<<<1, 4>>>(out);
    CHECK(cudaMemcpy(host, out, sizeof host, cudaMemcpyDeviceToHost));
    const int fibonacci[4] = {1, 1, 2, 3};
    for (int i = 0; i < 4; i++)
        EXPECT(host[i] == (i + 1) * fibonacci[i] + 8, "at %d: %g", i, host[i]);
    CHECK(cudaMemcpyFromSymbol(&number, counter, sizeof number));
    EXPECT(number == 50, "counter %d", number);

    CHECK(cudaMemcpyToSymbol(weights, changed, sizeof changed));
    void *address;
    size_t size;
    CHECK(cudaGetSymbolAddress(&address, table));
    CHECK(cudaGetSymbolSize(&size, table));
    EXPECT(size == 8 * sizeof(int), "size of table %zu", size);
    CHECK(cudaMemset(address, 0, 4 * sizeof(int)));
    use<<<1, 4>>>(out);
    CHECK(cudaMemcpy(host, out, sizeof host, cudaMemcpyDeviceToHost));
    for (int i = 0; i < 4; i++)
        EXPECT(host[i] == 8, "after the change, at %d: %g", i, host[i]);
    float back[4];
    CHECK(cudaMemcpyFromSymbol(back, weights, sizeof back));
    EXPECT(memcmp(back, changed, sizeof back) == 0, "constants read back differ");
    puts("ok");
}
