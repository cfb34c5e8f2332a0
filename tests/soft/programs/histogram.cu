/* A histogram per block in shared memory, merged with global atomics. */
#include "check.h"
#include <vector>

constexpr int BINS = 256;

__global__ void histogram(const uint8_t *input, int n, unsigned *bins)
{
    __shared__ unsigned local[BINS];
    for (int bin = threadIdx.x; bin < BINS; bin += blockDim.x)
        local[bin] = 0;
    __syncthreads();
    for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += gridDim.x * blockDim.x)
        atomicAdd(&local[input[i]], 1u);
    __syncthreads();
    for (int bin = threadIdx.x; bin < BINS; bin += blockDim.x)
        atomicAdd(&bins[bin], local[bin]);
}

/* What only compare-and-swap can do: a maximum of floats. */
__global__ void float_maximum(const uint8_t *input, int n, unsigned *result)
{
    for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += gridDim.x * blockDim.x) {
        float value = input[i] * 0.5f;
        unsigned seen = *(volatile unsigned *)result;
        while (value > __uint_as_float(seen)) {
            unsigned before = atomicCAS(result, seen, __float_as_uint(value));
            if (before == seen)
                break;
            seen = before;
        }
    }
}

__global__ void sum_doubles(double *total, float *floats)
{
    atomicAdd(total, 0.5);
    atomicAdd(floats, 0.25f);
}

int main()
{
    const int n = 200003;
    std::vector<uint8_t> values(n);
    std::vector<unsigned> wanted(BINS), got(BINS);
    uint32_t seed = 11;
    float highest = 0;
    for (uint8_t &value : values) {
        value = (uint8_t)(next_random(&seed) % 250);
        wanted[value]++;
        highest = value * 0.5f > highest ? value * 0.5f : highest;
    }
    uint8_t *input;
    unsigned *bins, *maximum;
    CHECK(cudaMalloc(&input, n));
    CHECK(cudaMalloc(&bins, BINS * sizeof(unsigned)));
    CHECK(cudaMalloc(&maximum, sizeof(unsigned)));
    CHECK(cudaMemcpy(input, values.data(), n, cudaMemcpyHostToDevice));
    CHECK(cudaMemset(bins, 0, BINS * sizeof(unsigned)));
    CHECK(cudaMemset(maximum, 0, sizeof(unsigned)));
    histogram<<<30, 192>>>(input, n, bins);
    float_maximum<<<30, 192>>>(input, n, maximum);
    CHECK(cudaMemcpy(got.data(), bins, BINS * sizeof(unsigned), cudaMemcpyDeviceToHost));
    for (int bin = 0; bin < BINS; bin++)
        EXPECT(got[bin] == wanted[bin], "bin %d: %u, not %u", bin, got[bin], wanted[bin]);
    float found;
    CHECK(cudaMemcpy(&found, maximum, sizeof found, cudaMemcpyDeviceToHost));
    EXPECT(found == highest, "maximum %g, not %g", found, highest);

    double *total, sum;
    CHECK(cudaMalloc(&total, 16));
    CHECK(cudaMemset(total, 0, 16));
    sum_doubles<<<20, 128>>>(total, (float *)(total + 1));
    CHECK(cudaMemcpy(&sum, total, sizeof sum, cudaMemcpyDeviceToHost));
    EXPECT(sum == 1280.0, "sum of doubles %g", sum);
    CHECK(cudaMemcpy(&found, total + 1, sizeof found, cudaMemcpyDeviceToHost));
    EXPECT(found == 640.0f, "sum of floats %g", found);
    puts("ok");
}
