/* What compilers put into PTX: calls, tables of functions, textures of every variable kind, switches, device
 * printf and assert, inline assembly, atomics, cooperative groups, clusters under newer architectures. Only
 * compiled, never run. */
#include <cassert>
#include <cooperative_groups.h>
#include <cuda/atomic>
#include <cuda_fp16.h>

struct Wide {
    double values[24];
    char tail[3];
};

__constant__ int table[5] = {1, 2, 3, 4, 5};
__device__ Wide state = {{1.5, -2.5}, {'a', ';', '}'}};
__device__ const char *const names[] = {"a; {b} // c", "\"quoted\" /* d */", "line\nbreak"};
static __device__ unsigned counter;
__managed__ int shared_with_host = 3;

__device__ __noinline__ int twice(int x) { return x * 2 + table[x % 5]; }
__device__ __noinline__ int place(int x) { return x + blockIdx.x + blockIdx.y * gridDim.x; }
typedef int (*function)(int);
__device__ function functions[] = {twice, place};

__global__ void calls(int *out, int which)
{
    out[threadIdx.x] = functions[which & 1](threadIdx.x) + twice(which) + place(which);
}

__global__ void __launch_bounds__(256, 2) parameters(Wide wide, const __grid_constant__ Wide other, char c, double *out)
{
    out[blockIdx.z] = wide.values[threadIdx.x % 24] + other.values[c % 24] + wide.tail[c % 3];
}

__global__ void prints(int n)
{
    printf("%d %s; {%f}\n", n, names[n % 3], state.values[n % 24]);
    assert(n != 13);
}

__global__ void branches(int *out, int n)
{
    switch (n) {
    case 0: out[0] = 7; return;
    case 1: out[1] = 8; break;
    case 2: out[2] = 9; return;
    case 3: out[3] = 1; break;
    case 4: out[4] = 2; break;
    case 5: out[5] = 4; return;
    }
#pragma unroll 1
    for (int i = 0; i < n; i++)
        out[i] += atomicAdd(&counter, 1u);
    if (n == 99)
        __trap();
}

__global__ void assembly(unsigned *out)
{
    unsigned lane, value;
    asm volatile("{ .reg .pred p;\n\t mov.u32 %0, %%laneid; // ; }\n\t setp.eq.u32 p, %0, 3;\n\t"
                 "@p add.u32 %1, %0, 5;\n\t @!p mov.u32 %1, %0; /* } */ }"
                 : "=r"(lane), "=r"(value));
    asm volatile("mov.u32 %0, %%ctaid.x;" : "=r"(out[lane]));
    out[value] = lane;
}

__global__ void groups(float *out, cuda::atomic<int, cuda::thread_scope_device> *shared, __half2 *halves)
{
    namespace cg = cooperative_groups;
    auto tile = cg::tiled_partition<16>(cg::this_thread_block());
    float sum = out[threadIdx.x];
    for (int i = tile.size() / 2; i > 0; i /= 2)
        sum += tile.shfl_down(sum, i);
    shared->fetch_add(1, cuda::memory_order_acq_rel);
    halves[threadIdx.x] = __hfma2(halves[threadIdx.x], halves[0], halves[1]);
    out[threadIdx.x] = sum;
}

#if __CUDA_ARCH__ >= 900
__global__ void __cluster_dims__(2, 1, 1) cluster(int *out)
{
    __shared__ int mine;
    namespace cg = cooperative_groups;
    auto all = cg::this_cluster();
    mine = all.block_rank();
    all.sync();
    out[blockIdx.x] = *all.map_shared_rank(&mine, (mine + 1) % 2);
    all.sync();
}
#endif
