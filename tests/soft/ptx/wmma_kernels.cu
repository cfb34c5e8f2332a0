// Warp matrices and barriers in shared memory; see ptx/test_wmma.py and test_ptx_mbarrier.py.
#include <mma.h>

using namespace nvcuda;

// D = scale * (A x B) + C, as programs do that scale what they have accumulated.
template <int M, int N, int K, class T, class F, class LA, class LB, class O>
__device__ void product(const T *a, const T *b, const O *c, O *d, int lda, int ldb, int ldc, O scale)
{
    wmma::fragment<wmma::matrix_a, M, N, K, F, LA> fa;
    wmma::fragment<wmma::matrix_b, M, N, K, F, LB> fb;
    wmma::fragment<wmma::accumulator, M, N, K, O> sum, add;
    wmma::fill_fragment(sum, O(0));
    wmma::load_matrix_sync(fa, a, lda);
    wmma::load_matrix_sync(fb, b, ldb);
    wmma::mma_sync(sum, fa, fb, sum);
    wmma::load_matrix_sync(add, c, ldc, wmma::mem_row_major);
    for (int i = 0; i < sum.num_elements; i++)
        sum.x[i] = scale * sum.x[i] + add.x[i];
    wmma::store_matrix_sync(d, sum, ldc, wmma::mem_row_major);
}

#define KERNEL(name, M, N, K, T, F, O)                                                              \
    extern "C" __global__ void name##_row(const T *a, const T *b, const O *c, O *d)                 \
    {                                                                                               \
        product<M, N, K, T, F, wmma::row_major, wmma::row_major, O>(a, b, c, d, K, N, N, O(2));     \
    }                                                                                               \
    extern "C" __global__ void name##_col(const T *a, const T *b, const O *c, O *d)                 \
    {                                                                                               \
        product<M, N, K, T, F, wmma::col_major, wmma::col_major, O>(a, b, c, d, M, K, N, O(2));     \
    }

KERNEL(f16_m16n16k16, 16, 16, 16, __half, __half, float)
KERNEL(f16_m8n32k16, 8, 32, 16, __half, __half, float)
KERNEL(f16_m32n8k16, 32, 8, 16, __half, __half, float)
KERNEL(half_m16n16k16, 16, 16, 16, __half, __half, __half)
KERNEL(half_m8n32k16, 8, 32, 16, __half, __half, __half)
KERNEL(half_m32n8k16, 32, 8, 16, __half, __half, __half)
KERNEL(bf16_m16n16k16, 16, 16, 16, __nv_bfloat16, __nv_bfloat16, float)
KERNEL(bf16_m8n32k16, 8, 32, 16, __nv_bfloat16, __nv_bfloat16, float)
KERNEL(bf16_m32n8k16, 32, 8, 16, __nv_bfloat16, __nv_bfloat16, float)
KERNEL(tf32_m16n16k8, 16, 16, 8, float, wmma::precision::tf32, float)
KERNEL(s8_m16n16k16, 16, 16, 16, signed char, signed char, int)
KERNEL(s8_m8n32k16, 8, 32, 16, signed char, signed char, int)
KERNEL(s8_m32n8k16, 32, 8, 16, signed char, signed char, int)
KERNEL(u8_m16n16k16, 16, 16, 16, unsigned char, unsigned char, int)
KERNEL(u8_m8n32k16, 8, 32, 16, unsigned char, unsigned char, int)
KERNEL(u8_m32n8k16, 32, 8, 16, unsigned char, unsigned char, int)
KERNEL(f64_m8n8k4, 8, 8, 4, double, double, double)

namespace small = wmma::experimental;

// 4-bit and 1-bit elements: A by rows, B by columns.
template <int K, class F, class T>
__device__ void whole(const T *a, const T *b, const int *c, int *d)
{
    wmma::fragment<wmma::matrix_a, 8, 8, K, F, wmma::row_major> fa;
    wmma::fragment<wmma::matrix_b, 8, 8, K, F, wmma::col_major> fb;
    wmma::fragment<wmma::accumulator, 8, 8, K, int> sum;
    wmma::load_matrix_sync(fa, a, K);
    wmma::load_matrix_sync(fb, b, K);
    wmma::load_matrix_sync(sum, c, 8, wmma::mem_row_major);
    wmma::mma_sync(sum, fa, fb, sum);
    wmma::store_matrix_sync(d, sum, 8, wmma::mem_row_major);
}

extern "C" __global__ void s4(const unsigned *a, const unsigned *b, const int *c, int *d)
{
    whole<32, small::precision::s4>(a, b, c, d);
}

extern "C" __global__ void u4(const unsigned *a, const unsigned *b, const int *c, int *d)
{
    whole<32, small::precision::u4>(a, b, c, d);
}

template <small::bmmaBitOp operation>
__device__ void bits(const unsigned *a, const unsigned *b, const int *c, int *d)
{
    wmma::fragment<wmma::matrix_a, 8, 8, 128, small::precision::b1, wmma::row_major> fa;
    wmma::fragment<wmma::matrix_b, 8, 8, 128, small::precision::b1, wmma::col_major> fb;
    wmma::fragment<wmma::accumulator, 8, 8, 128, int> sum;
    wmma::load_matrix_sync(fa, a, 128);
    wmma::load_matrix_sync(fb, b, 128);
    wmma::load_matrix_sync(sum, c, 8, wmma::mem_row_major);
    wmma::bmma_sync(sum, fa, fb, sum, operation);
    wmma::store_matrix_sync(d, sum, 8, wmma::mem_row_major);
}

extern "C" __global__ void b1_xor(const unsigned *a, const unsigned *b, const int *c, int *d)
{
    bits<small::bmmaBitOpXOR>(a, b, c, d);
}

extern "C" __global__ void b1_and(const unsigned *a, const unsigned *b, const int *c, int *d)
{
    bits<small::bmmaBitOpAND>(a, b, c, d);
}

// Sums of A x B, products one after the other in one function, with the block's warps meeting in between.
extern "C" __global__ void many(const __half *a, const __half *b, float *d)
{
    wmma::fragment<wmma::accumulator, 16, 16, 16, float> sum;
    wmma::fill_fragment(sum, 0.0f);
#pragma unroll
    for (int i = 0; i < 160; i++) {
        wmma::fragment<wmma::matrix_a, 16, 16, 16, __half, wmma::row_major> fa;
        wmma::fragment<wmma::matrix_b, 16, 16, 16, __half, wmma::row_major> fb;
        wmma::load_matrix_sync(fa, a + 16 * i, 16 * 160);
        wmma::load_matrix_sync(fb, b + 256 * i, 16);
        wmma::mma_sync(sum, fa, fb, sum);
        if (i % 40 == 0)
            __syncthreads();
    }
    wmma::store_matrix_sync(d + 256 * (threadIdx.x / 32), sum, 16, wmma::mem_row_major);
}
