/* Matrix product through 16x16 tiles in shared memory, with ragged edges. */
#include "check.h"
#include <cmath>
#include <vector>

constexpr int TILE = 16;

__global__ void multiply(const float *a, const float *b, float *c, int rows, int inner, int columns)
{
    __shared__ float tile_a[TILE][TILE], tile_b[TILE][TILE];
    int row = blockIdx.y * TILE + threadIdx.y, column = blockIdx.x * TILE + threadIdx.x;
    float sum = 0;
    for (int start = 0; start < inner; start += TILE) {
        int k = start + threadIdx.x, l = start + threadIdx.y;
        tile_a[threadIdx.y][threadIdx.x] = row < rows && k < inner ? a[row * inner + k] : 0;
        tile_b[threadIdx.y][threadIdx.x] = l < inner && column < columns ? b[l * columns + column] : 0;
        __syncthreads();
        for (int i = 0; i < TILE; i++)
            sum += tile_a[threadIdx.y][i] * tile_b[i][threadIdx.x];
        __syncthreads();
    }
    if (row < rows && column < columns)
        c[row * columns + column] = sum;
}

int main()
{
    const int rows = 70, inner = 131, columns = 93;
    std::vector<float> a(rows * inner), b(inner * columns), c(rows * columns);
    uint32_t seed = 7;
    for (float &value : a)
        value = next_float(&seed) - 0.5f;
    for (float &value : b)
        value = next_float(&seed) - 0.5f;
    float *da, *db, *dc;
    CHECK(cudaMalloc(&da, a.size() * 4));
    CHECK(cudaMalloc(&db, b.size() * 4));
    CHECK(cudaMalloc(&dc, c.size() * 4));
    CHECK(cudaMemcpy(da, a.data(), a.size() * 4, cudaMemcpyDefault));
    CHECK(cudaMemcpy(db, b.data(), b.size() * 4, cudaMemcpyDefault));
    dim3 grid((columns + TILE - 1) / TILE, (rows + TILE - 1) / TILE), block(TILE, TILE);
    multiply<<<grid, block>>>(da, db, dc, rows, inner, columns);
    CHECK(cudaDeviceSynchronize());
    CHECK(cudaMemcpy(c.data(), dc, c.size() * 4, cudaMemcpyDeviceToHost));
    for (int i = 0; i < rows; i++)
        for (int j = 0; j < columns; j++) {
            double sum = 0;
            for (int k = 0; k < inner; k++)
                sum += (double)a[i * inner + k] * b[k * columns + j];
            EXPECT(fabs(c[i * columns + j] - sum) < 1e-4, "at %d,%d: %g, not %g", i, j, c[i * columns + j], sum);
        }
    puts("ok");
}
