/* Votes, matches, shuffles of every kind, counted barriers, bit functions. */
#include "check.h"

__global__ void votes(unsigned *out)
{
    unsigned lane = threadIdx.x % 32;
    unsigned odd = __ballot_sync(0xffffffffu, lane & 1);
    unsigned any = __any_sync(0xffffffffu, lane == 40), all = __all_sync(0xffffffffu, lane < 32);
    unsigned match = __match_any_sync(0xffffffffu, lane / 8);
    unsigned up = __shfl_up_sync(0xffffffffu, lane, 3), index = __shfl_sync(0xffffffffu, lane * 2, (lane + 5) % 32);
    unsigned half = __shfl_xor_sync(0xffffffffu, lane, 4, 16);
    unsigned active = 0;
    if (lane % 4 == 0)
        active = __activemask() & 0x11111111u;
    __syncwarp();
    unsigned count = __syncthreads_count(threadIdx.x < 40);
    unsigned either = __syncthreads_or(threadIdx.x == 63), both = __syncthreads_and(threadIdx.x < 63);
    unsigned *mine = out + threadIdx.x * 12;
    mine[0] = odd;
    mine[1] = any * 2 + all;
    mine[2] = match;
    mine[3] = up;
    mine[4] = index;
    mine[5] = half;
    mine[6] = active;
    mine[7] = count;
    mine[8] = (either != 0) * 2 + (both != 0);
    mine[9] = __popc(threadIdx.x * 2654435761u) * 100 + __clz(threadIdx.x + 1);
    mine[10] = __brev(threadIdx.x) ^ __byte_perm(threadIdx.x, 0xa1b2c3d4u, 0x5140);
    mine[11] = __reduce_add_sync(0xffffffffu, lane);
}

int main()
{
    const unsigned threads = 64;
    unsigned *device, host[threads * 12];
    CHECK(cudaMalloc(&device, sizeof host));
    votes<<<1, threads>>>(device);
    CHECK(cudaMemcpy(host, device, sizeof host, cudaMemcpyDeviceToHost));
    for (unsigned t = 0; t < threads; t++) {
        const unsigned *mine = host + t * 12;
        unsigned lane = t % 32, reversed = 0;
        EXPECT(mine[0] == 0xaaaaaaaau, "ballot %x", mine[0]);
        EXPECT(mine[1] == 1, "any, all %u", mine[1]);
        EXPECT(mine[2] == 0xffu << (lane / 8 * 8), "match %x of %u", mine[2], t);
        EXPECT(mine[3] == (lane < 3 ? lane : lane - 3), "up %u of %u", mine[3], t);
        EXPECT(mine[4] == (lane + 5) % 32 * 2, "index %u of %u", mine[4], t);
        EXPECT(mine[5] == (lane ^ 4), "xor %u of %u", mine[5], t);
        if (lane % 4 == 0)
            EXPECT(mine[6] & (1u << lane), "active %x of %u", mine[6], t);
        EXPECT(mine[7] == 40, "count %u", mine[7]);
        EXPECT(mine[8] == 2, "or, and %u", mine[8]);
        unsigned bits = (unsigned)__builtin_popcount(t * 2654435761u) * 100 + (unsigned)__builtin_clz(t + 1);
        EXPECT(mine[9] == bits, "bits %u of %u", mine[9], t);
        for (int bit = 0; bit < 32; bit++)
            reversed |= (t >> bit & 1) << (31 - bit);
        unsigned permuted = (t & 0xff) | 0xd400u | (t >> 8 & 0xff) << 16 | 0xc3u << 24;
        EXPECT(mine[10] == (reversed ^ permuted), "permutation %x of %u", mine[10], t);
        EXPECT(mine[11] == 496, "reduce %u", mine[11]);
    }
    puts("ok");
}
