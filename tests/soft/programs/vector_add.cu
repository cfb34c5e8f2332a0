/* c = a + b over sizes that do and do not fill their blocks. */
#include "check.h"
#include <vector>

__global__ void add(const float *a, const float *b, float *c, int n)
{
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n)
        c[i] = a[i] + b[i];
}

static void run(int n)
{
    std::vector<float> a(n), b(n), c(n, -1.0f);
    uint32_t seed = 1 + n;
    for (int i = 0; i < n; i++) {
        a[i] = next_float(&seed);
        b[i] = next_float(&seed);
    }
    size_t bytes = n * sizeof(float);
    float *device[3];
    for (float *&pointer : device)
        CHECK(cudaMalloc(&pointer, bytes));
    CHECK(cudaMemcpy(device[0], a.data(), bytes, cudaMemcpyHostToDevice));
    CHECK(cudaMemcpy(device[1], b.data(), bytes, cudaMemcpyHostToDevice));
    add<<<(n + 255) / 256, 256>>>(device[0], device[1], device[2], n);
    CHECK(cudaGetLastError());
    CHECK(cudaMemcpy(c.data(), device[2], bytes, cudaMemcpyDeviceToHost));
    for (int i = 0; i < n; i++)
        EXPECT(c[i] == a[i] + b[i], "at %d of %d: %g", i, n, c[i]);
    for (float *pointer : device)
        CHECK(cudaFree(pointer));
}

int main()
{
    for (int n : {1, 31, 256, 1000, 100003, 1 << 20})
        run(n);
    puts("ok");
}
