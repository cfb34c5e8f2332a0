/* Number formats and math functions against the host's, within CUDA's documented errors. */
#include "check.h"
#include <cmath>
#include <cuda_bf16.h>
#include <cuda_fp16.h>

constexpr int N = 512, FUNCTIONS = 16;

__host__ __device__ inline double apply(int function, double x)
{
    switch (function) {
    case 0: return sin(x);
    case 1: return cos(x);
    case 2: return exp(x);
    case 3: return log(x);
    case 4: return pow(x, 1.7);
    case 5: return tanh(x);
    case 6: return erf(x);
    case 7: return sqrt(x);
    case 8: return 1.0 / x;
    case 9: return atan2(x, 2.0);
    case 10: return cbrt(x);
    case 11: return fmod(x, 0.7);
    case 12: return exp2(x);
    case 13: return log2(x);
    case 14: return floor(x * 3) + rint(x * 5) + trunc(x * 7);
    default: return lgamma(x);
    }
}

__device__ inline float apply_float(int function, float x)
{
    switch (function) {
    case 0: return sinf(x);
    case 1: return cosf(x);
    case 2: return expf(x);
    case 3: return logf(x);
    case 4: return powf(x, 1.7f);
    case 5: return tanhf(x);
    case 6: return erff(x);
    case 7: return sqrtf(x);
    case 8: return 1.0f / x;
    case 9: return atan2f(x, 2.0f);
    case 10: return cbrtf(x);
    case 11: return fmodf(x, 0.7f);
    case 12: return exp2f(x);
    case 13: return log2f(x);
    case 14: return floorf(x * 3) + rintf(x * 5) + truncf(x * 7);
    default: return lgammaf(x);
    }
}

__host__ __device__ inline float sample(int i) { return 0.03125f * (float)(i + 1); }

__global__ void evaluate(double *doubles, float *floats)
{
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    for (int function = 0; function < FUNCTIONS; function++) {
        doubles[function * N + i] = apply(function, sample(i));
        floats[function * N + i] = apply_float(function, sample(i));
    }
}

__global__ void small_floats(float *out)
{
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    __half h = __float2half(sample(i));
    __nv_bfloat16 b = __float2bfloat16(sample(i));
    __half2 pair = __hfma2(__half2half2(h), __floats2half2_rn(2.0f, 0.5f), __floats2half2_rn(1.0f, 1.0f));
    out[i * 4] = __half2float(h * h);
    out[i * 4 + 1] = __low2float(pair) + __high2float(pair);
    out[i * 4 + 2] = __bfloat162float(b);
    out[i * 4 + 3] = __bfloat162float(b + b);
}

__global__ void integers(long long *out)
{
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    long long wide = (long long)i * 1234567890123LL - 99999999999LL;
    int narrow = i * 7919 - 100000;
    out[i * 6] = wide / (i + 3);
    out[i * 6 + 1] = wide % (i + 3);
    out[i * 6 + 2] = narrow / (i + 1) + narrow % (i + 1);
    out[i * 6 + 3] = __mul64hi(wide, wide) ^ __umulhi((unsigned)narrow, 0x9e3779b9u);
    out[i * 6 + 4] = (long long)(float)narrow + (long long)((double)wide * 0.5);
    out[i * 6 + 5] = (short)narrow * (signed char)i + (unsigned char)narrow;
}

static double units(double got, double wanted, double epsilon)
{
    return fabs(got - wanted) / (epsilon * fmax(fabs(wanted), 1e-30));
}

int main()
{
    static double doubles[FUNCTIONS * N];
    static float floats[FUNCTIONS * N], small[N * 4];
    static long long whole[N * 6];
    void *device;
    CHECK(cudaMalloc(&device, sizeof doubles + sizeof floats));
    float *second = (float *)((char *)device + sizeof doubles);
    evaluate<<<N / 64, 64>>>((double *)device, second);
    CHECK(cudaMemcpy(doubles, device, sizeof doubles, cudaMemcpyDeviceToHost));
    CHECK(cudaMemcpy(floats, second, sizeof floats, cudaMemcpyDeviceToHost));
    for (int function = 0; function < FUNCTIONS; function++)
        for (int i = 0; i < N; i++) {
            double wanted = apply(function, sample(i)), slack = fabs(wanted) < 0.02 ? 1e3 : 1;
            double error = units(doubles[function * N + i], wanted, 2.3e-16);
            EXPECT(error < 16 * slack, "double function %d of %g: %.17g, not %.17g", function, sample(i),
                   doubles[function * N + i], wanted);
            if (function == 11) /* exact in float, but of another 0.7 */
                wanted = fmodf(sample(i), 0.7f);
            error = units(floats[function * N + i], wanted, 1.2e-7);
            EXPECT(error < 16 * slack, "float function %d of %g: %.9g, not %.9g", function, sample(i),
                   floats[function * N + i], wanted);
        }
    small_floats<<<N / 64, 64>>>((float *)device);
    CHECK(cudaMemcpy(small, device, sizeof small, cudaMemcpyDeviceToHost));
    for (int i = 0; i < N; i++) {
        float x = sample(i);
        EXPECT(fabs(small[i * 4] - x * x) <= x * x / 1024, "half product of %g: %g", x, small[i * 4]);
        EXPECT(fabs(small[i * 4 + 1] - (2.5f * x + 2)) <= (2.5f * x + 2) / 512, "half pair of %g: %g", x, small[i * 4 + 1]);
        EXPECT(fabs(small[i * 4 + 2] - x) <= x / 256, "bfloat of %g: %g", x, small[i * 4 + 2]);
        EXPECT(small[i * 4 + 3] == 2 * small[i * 4 + 2], "bfloat sum of %g: %g", x, small[i * 4 + 3]);
    }
    integers<<<N / 64, 64>>>((long long *)device);
    CHECK(cudaMemcpy(whole, device, sizeof whole, cudaMemcpyDeviceToHost));
    for (int i = 0; i < N; i++) {
        long long wide = (long long)i * 1234567890123LL - 99999999999LL;
        int narrow = i * 7919 - 100000;
        long long high = (long long)(((__int128)wide * wide) >> 64) ^
                         (long long)(unsigned)(((uint64_t)(unsigned)narrow * 0x9e3779b9u) >> 32);
        EXPECT(whole[i * 6] == wide / (i + 3), "64-bit quotient of %d", i);
        EXPECT(whole[i * 6 + 1] == wide % (i + 3), "64-bit remainder of %d", i);
        EXPECT(whole[i * 6 + 2] == narrow / (i + 1) + narrow % (i + 1), "32-bit division of %d", i);
        EXPECT(whole[i * 6 + 3] == high, "high product of %d", i);
        EXPECT(whole[i * 6 + 4] == (long long)(float)narrow + (long long)((double)wide * 0.5), "conversion of %d", i);
        EXPECT(whole[i * 6 + 5] == (short)narrow * (signed char)i + (unsigned char)narrow, "narrow types of %d", i);
    }
    puts("ok");
}
