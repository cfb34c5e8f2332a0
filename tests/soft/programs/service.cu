/* A high-priority service, told what to do line by line:
 *   ask N      serves N requests, checks each, and answers "asked", then each one's time in us
 *   talk N     serves one request of N + 1 kernels that take TALK_US each, and computes for PAUSE_US after each
 *              but the last; answers "talked"
 *   hold       starts a kernel that keeps the device busy, and answers "held"
 *   release    lets that kernel end, waits for it, and answers "released" */
#include "check.h"
#include <chrono>
#include <cstring>

__global__ void hold(volatile int *flag)
{
    while (!*flag)
        ;
}

__device__ unsigned long long now_ns()
{
    unsigned long long ns;
    asm volatile("mov.u64 %0, %globaltimer;" : "=l"(ns));
    return ns;
}

__global__ void occupy(unsigned us)
{
    unsigned long long until = now_ns() + us * 1000ull;
    while (now_ns() < until)
        ;
}

__global__ void serve(const unsigned *in, unsigned *out, unsigned turns)
{
    unsigned i = blockIdx.x * blockDim.x + threadIdx.x, x = in[i];
    for (unsigned turn = 0; turn < turns; turn++)
        x = x * 1664525u + 1013904223u;
    out[i] = x;
}

static const unsigned n = 4 * 64, turns = 500;
static const unsigned TALK_US = 4000, PAUSE_US = 500;
static unsigned *in, *out, wanted[n];

static long request()
{
    unsigned host[n];
    auto began = std::chrono::steady_clock::now();
    for (unsigned i = 0; i < n; i++)
        host[i] = i;
    CHECK(cudaMemcpy(in, host, sizeof host, cudaMemcpyHostToDevice));
    serve<<<4, 64>>>(in, out, turns);
    CHECK(cudaMemcpy(host, out, sizeof host, cudaMemcpyDeviceToHost));
    auto took = std::chrono::steady_clock::now() - began;
    for (unsigned i = 0; i < n; i++)
        EXPECT(host[i] == wanted[i], "at %u: %u", i, host[i]);
    return (long)std::chrono::duration_cast<std::chrono::microseconds>(took).count();
}

static void talk(int pauses)
{
    for (int left = pauses; left >= 0; left--) {
        occupy<<<1, 1>>>(TALK_US);
        CHECK(cudaDeviceSynchronize());
        auto until = std::chrono::steady_clock::now() + std::chrono::microseconds(PAUSE_US);
        while (left > 0 && std::chrono::steady_clock::now() < until)
            ;
    }
}

int main()
{
    char line[64];
    int *flag;
    cudaStream_t aside;
    CHECK(cudaMallocHost(&flag, sizeof *flag));
    CHECK(cudaStreamCreateWithFlags(&aside, cudaStreamNonBlocking));
    CHECK(cudaMalloc(&in, sizeof wanted));
    CHECK(cudaMalloc(&out, sizeof wanted));
    for (unsigned i = 0; i < n; i++) {
        wanted[i] = i;
        for (unsigned turn = 0; turn < turns; turn++)
            wanted[i] = wanted[i] * 1664525u + 1013904223u;
    }
    *flag = 1;
    hold<<<1, 1, 0, aside>>>(flag); /* compiled before it counts */
    CHECK(cudaStreamSynchronize(aside));
    request();
    talk(1);
    puts("ready");
    fflush(stdout);
    while (fgets(line, sizeof line, stdin)) {
        if (strncmp(line, "ask ", 4) == 0) {
            printf("asked");
            for (int left = atoi(line + 4); left > 0; left--)
                printf(" %ld", request());
            puts("");
        } else if (strncmp(line, "talk ", 5) == 0) {
            talk(atoi(line + 5));
            puts("talked");
        } else if (strcmp(line, "hold\n") == 0) {
            *(volatile int *)flag = 0;
            hold<<<1, 1, 0, aside>>>(flag);
            CHECK(cudaGetLastError());
            puts("held");
        } else if (strcmp(line, "release\n") == 0) {
            *(volatile int *)flag = 1;
            CHECK(cudaStreamSynchronize(aside));
            puts("released");
        }
        fflush(stdout);
    }
    return 0;
}
