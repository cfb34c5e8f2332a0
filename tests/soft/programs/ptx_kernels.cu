// Kernels that ptx/test_kernels.py runs on softgpu and checks with numpy. PTX only; no host code.
#include <cstdio>
#include <cooperative_groups.h>
#include <cub/block/block_radix_sort.cuh>
#include <cub/block/block_scan.cuh>
#include <cuda_bf16.h>
#include <cuda_fp16.h>

extern "C" __global__ void shuffles(const int *in, int *out, int delta) {
    int lane = threadIdx.x, value = in[lane];
    out[lane] = __shfl_up_sync(~0u, value, 3);
    out[32 + lane] = __shfl_down_sync(~0u, value, delta);
    out[64 + lane] = __shfl_xor_sync(~0u, value, delta, 16);
    out[96 + lane] = __shfl_sync(~0u, value, (lane * 7 + delta) & 31);
    out[128 + lane] = __shfl_sync(~0u, value, lane * 3, 8);
    out[160 + lane] = __shfl_up_sync(~0u, value, delta, 4);
    if (lane & 1) out[192 + lane] = __shfl_down_sync(0xaaaaaaaau, value, 2);
    else out[192 + lane] = -value;
}

extern "C" __global__ void votes(const int *in, unsigned *out) {
    int lane = threadIdx.x, value = in[lane];
    unsigned r[8];
    r[0] = __ballot_sync(~0u, value & 1);
    r[1] = __any_sync(~0u, value > 1000);
    r[2] = __all_sync(~0u, value >= 0);
    r[3] = __match_any_sync(~0u, value & 3);
    int same;
    r[4] = __match_all_sync(~0u, value & 3, &same) + same;
    r[5] = __reduce_add_sync(~0u, value);
    r[6] = __reduce_max_sync(~0u, (unsigned)value);
    r[7] = 0;
    if (value & 2) r[7] = __activemask();
    for (int i = 0; i < 8; i++) out[32 * i + lane] = r[i];
}

extern "C" __global__ void barriers(int *out) {
    __shared__ int data[256];
    int t = threadIdx.x;
    data[t] = t;
    __syncthreads();
    for (int step = 1; step < 256; step *= 2) {
        int other = t >= step ? data[t - step] : 0;
        __syncthreads();
        data[t] += other;
        __syncthreads();
    }
    out[t] = data[t];
    out[256 + t] = __syncthreads_count(t % 3 == 0);
    out[512 + t] = __syncthreads_or(t == 77) + 2 * __syncthreads_and(t < 256);
    if (t < 64) { // two warps on a barrier of their own
        asm volatile("bar.sync 3, 64;");
        out[768 + t] = data[63 - t];
    }
}

extern "C" __global__ void early_exit(int *out, int n) {
    __shared__ int sum;
    if (threadIdx.x == 0) sum = 0;
    __syncthreads();
    if (threadIdx.x >= n) return; // warps that are gone count as arrived
    atomicAdd(&sum, 1);
    __syncthreads();
    out[threadIdx.x] = sum;
}

extern "C" __global__ void atomics(const int *in, int *i, float *f, double *d, unsigned long long *u, int n) {
    int t = blockIdx.x * blockDim.x + threadIdx.x;
    if (t >= n) return;
    int v = in[t];
    atomicAdd(&i[0], v);
    atomicMin(&i[1], v);
    atomicMax(&i[2], v);
    atomicAnd(&i[3], v | 0xff00);
    atomicOr(&i[4], v & 0xff);
    atomicXor(&i[5], v);
    atomicInc((unsigned *)&i[6], 99);
    atomicDec((unsigned *)&i[7], 99);
    atomicSub(&i[8], v);
    atomicAdd(&i[16 + (v & 15)], 1);
    atomicAdd(f, 1.0f);
    atomicAdd(d, 0.5);
    atomicAdd(u, (unsigned long long)v);
    atomicMax(u + 1, (unsigned long long)(unsigned)v << 20);
    int old = i[9], seen;
    do { // addition out of compare-and-swap
        seen = old;
        old = atomicCAS(&i[9], seen, seen + v);
    } while (old != seen);
}

extern "C" __global__ void histogram(const unsigned char *in, int *out, int n) {
    __shared__ int bins[256];
    bins[threadIdx.x] = 0;
    __syncthreads();
    for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += gridDim.x * blockDim.x) atomicAdd(&bins[in[i]], 1);
    __syncthreads();
    atomicAdd(&out[threadIdx.x], bins[threadIdx.x]);
}

extern "C" __global__ void vectors(const float4 *a, const double2 *b, float4 *c, double2 *d, int stride, int n) {
    int t = blockIdx.x * blockDim.x + threadIdx.x;
    if (t >= n) return;
    float4 x = a[t * stride];
    c[t] = make_float4(x.w, x.z, x.y, x.x);
    double2 y = b[n - 1 - t];
    d[t] = make_double2(y.y, y.x);
}

__device__ __noinline__ int fibonacci(int n) { return n < 2 ? n : fibonacci(n - 1) + fibonacci(n - 2); }
__device__ __noinline__ int twice(int x) { return 2 * x; }
__device__ __noinline__ int square(int x) { return x * x; }
struct Big { int v[5]; double w; };
__device__ __noinline__ Big shuffle(Big b, int k) {
    Big r;
    for (int i = 0; i < 5; i++) r.v[i] = b.v[(i + k) % 5];
    r.w = b.w / k;
    return r;
}
__device__ int (*const table[2])(int) = {twice, square};

extern "C" __global__ void calls(int *out, double *wide) {
    int t = threadIdx.x;
    out[t] = t < 20 ? fibonacci(t % 10) : -t;
    out[32 + t] = table[t % 2](t);
    Big b;
    for (int i = 0; i < 5; i++) b.v[i] = t * i;
    b.w = t;
    Big r = shuffle(b, 1 + t % 4);
    out[64 + t] = r.v[0] + 1000 * r.v[4];
    wide[t] = r.w;
}

extern "C" __global__ void local_arrays(int *out, int n) {
    int a[40];
    for (int i = 0; i < 40; i++) a[i] = i * (threadIdx.x + 1);
    for (int i = 0; i < n; i++) {
        int j = (i * 7 + threadIdx.x) % 40, k = (i * 11 + 3) % 40, s = a[j];
        a[j] = a[k];
        a[k] = s;
    }
    int sum = 0;
    for (int i = 0; i < 40; i++) sum += a[i] * i;
    out[blockIdx.x * blockDim.x + threadIdx.x] = sum;
}

__device__ int sum_generic(const int *p, int n) {
    int s = 0;
    for (int i = 0; i < n; i++) s += p[i];
    return s;
}
__device__ int globals[4] = {10, 20, 30, 40};
__constant__ int constants[4] = {1, 2, 3, 4};
__device__ int *pointer = &globals[1];

extern "C" __global__ void spaces(int *out) {
    __shared__ int shared[4];
    int local[4];
    int t = threadIdx.x;
    if (t < 4) shared[t] = 100 * t;
    __syncthreads();
    for (int i = 0; i < 4; i++) local[i] = t + i;
    const int *p = t % 4 == 0 ? shared : t % 4 == 1 ? local : t % 4 == 2 ? globals : constants;
    out[t] = sum_generic(p, 4);
    out[32 + t] = __isShared(p) + 2 * __isLocal(p) + 4 * __isGlobal(p);
    out[64 + t] = pointer[t % 3];
}

extern "C" __global__ void dynamic(const int *in, int *out, int n) {
    extern __shared__ int data[];
    for (int i = threadIdx.x; i < n; i += blockDim.x) data[i] = in[i];
    __syncthreads();
    for (int i = threadIdx.x; i < n; i += blockDim.x) out[i] = data[n - 1 - i];
}

template <int T> __device__ void matmul(const float *a, const float *b, float *c, int n) {
    __shared__ float x[T][T], y[T][T];
    int row = blockIdx.y * T + threadIdx.y, column = blockIdx.x * T + threadIdx.x;
    float sum = 0;
    for (int k = 0; k < n; k += T) {
        x[threadIdx.y][threadIdx.x] = a[row * n + k + threadIdx.x];
        y[threadIdx.y][threadIdx.x] = b[(k + threadIdx.y) * n + column];
        __syncthreads();
        for (int i = 0; i < T; i++) sum += x[threadIdx.y][i] * y[i][threadIdx.x];
        __syncthreads();
    }
    c[row * n + column] = sum;
}
extern "C" __global__ void matmul8(const float *a, const float *b, float *c, int n) { matmul<8>(a, b, c, n); }
extern "C" __global__ void matmul12(const float *a, const float *b, float *c, int n) { matmul<12>(a, b, c, n); }
extern "C" __global__ void matmul16(const float *a, const float *b, float *c, int n) { matmul<16>(a, b, c, n); }
extern "C" __global__ void matmul32(const float *a, const float *b, float *c, int n) { matmul<32>(a, b, c, n); }

extern "C" __global__ void sort(const int *in, int *out) {
    typedef cub::BlockRadixSort<int, 128, 4> Sort;
    typedef cub::BlockScan<int, 128> Scan;
    __shared__ union { typename Sort::TempStorage sort; typename Scan::TempStorage scan; } memory;
    int keys[4];
    for (int i = 0; i < 4; i++) keys[i] = in[threadIdx.x * 4 + i];
    Sort(memory.sort).Sort(keys);
    for (int i = 0; i < 4; i++) out[threadIdx.x * 4 + i] = keys[i];
    __syncthreads();
    int total;
    Scan(memory.scan).InclusiveSum((int)threadIdx.x, total);
    out[512 + threadIdx.x] = total;
}

extern "C" __global__ void halves(const __half2 *a, const __half2 *b, __half2 *c, const __nv_bfloat162 *x, __nv_bfloat162 *y, int n) {
    int t = blockIdx.x * blockDim.x + threadIdx.x;
    if (t >= n) return;
    c[t] = __hfma2(a[t], b[t], __hadd2(a[t], h2exp2(b[t])));
    y[t] = __hmul2(x[t], __float2bfloat162_rn(1.5f));
}

extern "C" __global__ void math(const float *in, float *out, double *wide, int n) {
    int t = threadIdx.x;
    if (t >= n) return;
    float v = in[t];
    float r[8] = {sinf(v), expf(v), logf(fabsf(v)), powf(fabsf(v), 1.7f), tanhf(v), erff(v), rsqrtf(fabsf(v)), fmodf(v, 0.7f)};
    for (int i = 0; i < 8; i++) out[n * i + t] = r[i];
    double w[4] = {sin((double)v), exp((double)v), log(fabs((double)v)), cbrt((double)v)};
    for (int i = 0; i < 4; i++) wide[n * i + t] = w[i];
}

extern "C" __global__ void divisions(const long long *a, const long long *b, long long *out, int n) {
    int t = threadIdx.x;
    if (t >= n) return;
    out[t] = a[t] / b[t];
    out[n + t] = a[t] % b[t];
    out[2 * n + t] = (unsigned)a[t] / (unsigned)(b[t] | 1);
    out[3 * n + t] = __mulhi((int)a[t], (int)b[t]) + __umul64hi(a[t], b[t]);
}

extern "C" __global__ void printing(int n) {
    if (threadIdx.x == 1) printf("%d|%5d|%-5d|%05u|%x|%llx|%c|%s|%8.3f|%e|%%|%*d\n", n, n, n, n, n, 1234567890123ll, 'x', "text", 1.5, 0.25, 6, n);
}

extern "C" __global__ void lock(int *mutex, int *counter) { // one lane of each warp
    if (threadIdx.x % 32) return;
    while (atomicCAS(mutex, 0, 1)) {}
    *(volatile int *)counter = *(volatile int *)counter + 1;
    __threadfence();
    atomicExch(mutex, 0);
}

extern "C" __global__ void lock_every_thread(int *mutex, int *counter, int *out) { // lanes of one warp compete
    while (atomicCAS(mutex, 0, 1) != 0) {}
    __threadfence();
    *(volatile int *)counter = *(volatile int *)counter + 1;
    __threadfence();
    atomicExch(mutex, 0);
    __syncthreads();
    out[threadIdx.x] = *(volatile int *)counter >= blockDim.x;
}

extern "C" __global__ void lanes_wait_for_lanes(int *flags, int *out) { // lane t waits for lane t + 1
    int t = threadIdx.x;
    if (t < 63) while (*(volatile int *)&flags[t + 1] == 0) {}
    *(volatile int *)&flags[t] = t + 1;
    __syncthreads();
    out[t] = flags[t];
}

extern "C" __global__ void flag_between_warps(int *out) { // warp 0 waits for warp 1, without a barrier
    __shared__ volatile int flag;
    if (threadIdx.x == 0) flag = 0;
    __syncthreads();
    if (threadIdx.x < 32) {
        while (!flag) {}
        out[threadIdx.x] = flag;
    } else if (threadIdx.x == 32) {
        flag = 42;
    }
}

extern "C" __global__ void deadlock(void) {
    if (threadIdx.x < 32) asm volatile("bar.sync 1, 64;");
}
extern "C" __global__ void forever(int *p) { while (*(volatile int *)p == 0) {} }
extern "C" __global__ void trap(int n) { if (threadIdx.x == n) __trap(); }
extern "C" __global__ void overflow_stack(int *p, int n) { p[0] = n ? fibonacci(-n) : 0; }
__device__ __noinline__ int deep(int n) { volatile int x[64]; x[n & 63] = n; return n ? deep(n - 1) + x[n & 63] : 0; }
extern "C" __global__ void deep_recursion(int *p, int n) { p[threadIdx.x] = deep(n); }
extern "C" __global__ void store_at(long long address) { *(int *)address = 1; }
extern "C" __global__ void scatter(int *out, const int *where, int n) {
    int t = threadIdx.x;
    if (t < n) out[where[t]] = t;
}

extern "C" __global__ void wmma_half(const __half *a, const __half *b, float *c) { // one m16n8k16 by hand
    unsigned x[4], y[2];
    float z[4] = {0, 0, 0, 0};
    int g = threadIdx.x / 4, t = threadIdx.x % 4;
    for (int r = 0; r < 4; r++) x[r] = *(const unsigned *)&a[(g + 8 * (r & 1)) * 16 + 2 * t + 8 * (r >> 1)];
    for (int r = 0; r < 2; r++) {
        __half2 h = __halves2half2(b[(2 * t + 8 * r) * 8 + g], b[(2 * t + 8 * r + 1) * 8 + g]);
        y[r] = *(unsigned *)&h;
    }
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
                 : "+f"(z[0]), "+f"(z[1]), "+f"(z[2]), "+f"(z[3]) : "r"(x[0]), "r"(x[1]), "r"(x[2]), "r"(x[3]), "r"(y[0]), "r"(y[1]));
    for (int i = 0; i < 4; i++) c[(g + 8 * (i >> 1)) * 8 + 2 * t + (i & 1)] = z[i];
}

extern "C" __global__ void async_copy(const int4 *in, int4 *out) {
    __shared__ int4 data[64];
    unsigned where = (unsigned)__cvta_generic_to_shared(&data[threadIdx.x]);
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(where), "l"(in + threadIdx.x) : "memory");
    asm volatile("cp.async.commit_group; cp.async.wait_group 0;" ::: "memory");
    __syncthreads();
    out[threadIdx.x] = data[63 - threadIdx.x];
}

extern "C" __global__ void groups(int *out) {
    namespace cg = cooperative_groups;
    auto tile = cg::tiled_partition<8>(cg::this_thread_block());
    int v = threadIdx.x;
    for (int d = tile.size() / 2; d; d /= 2) v += tile.shfl_down(v, d);
    out[threadIdx.x] = tile.shfl(v, 0);
    if (threadIdx.x % 3 == 0) {
        auto active = cg::coalesced_threads();
        out[64 + threadIdx.x] = active.thread_rank() * 100 + active.size();
    }
}
