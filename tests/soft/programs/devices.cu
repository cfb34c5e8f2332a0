/* One program, two devices: memory and kernels of each, and copies between them. */
#include "check.h"

#include <vector>

#define COUNT (3 << 20)
#define BYTES (COUNT * sizeof(uint32_t))

__device__ uint32_t factor = 1;

__global__ void fill(uint32_t *out, uint32_t seed, size_t count)
{
    size_t i = blockIdx.x * (size_t)blockDim.x + threadIdx.x;
    if (i < count)
        out[i] = (uint32_t)i * factor + seed;
}

struct device {
    uint32_t *memory, *pinned;
    cudaStream_t stream;
    uint32_t factor;
};

static device open_device(int index)
{
    device d = {};
    d.factor = index + 3;
    CHECK(cudaSetDevice(index));
    CHECK(cudaMalloc(&d.memory, BYTES));
    CHECK(cudaMallocHost(&d.pinned, BYTES));
    CHECK(cudaStreamCreateWithFlags(&d.stream, cudaStreamNonBlocking));
    CHECK(cudaMemcpyToSymbol(factor, &d.factor, sizeof d.factor)); /* each device has its own variable */
    return d;
}

static void start_fill(int index, const device &d, uint32_t seed, cudaStream_t stream)
{
    CHECK(cudaSetDevice(index));
    fill<<<(COUNT + 255) / 256, 256, 0, stream>>>(d.memory, seed, COUNT);
    CHECK(cudaGetLastError());
}

static void expect(const uint32_t *got, uint32_t times, uint32_t seed, size_t count, const char *what)
{
    for (size_t i = 0; i < count; i++)
        EXPECT(got[i] == (uint32_t)i * times + seed, "%s: [%zu] is %u", what, i, got[i]);
}

/* Read through the owner's own device. */
static void expect_memory(int index, const device &d, uint32_t times, uint32_t seed, const char *what)
{
    static std::vector<uint32_t> host(COUNT);
    CHECK(cudaSetDevice(index));
    CHECK(cudaMemcpy(host.data(), d.memory, BYTES, cudaMemcpyDeviceToHost));
    expect(host.data(), times, seed, COUNT, what);
}

static void check_addresses(const device &a, const device &b)
{
    EXPECT(a.memory != b.memory && a.pinned != b.pinned, "one address for two");
    const uint32_t *all[] = {a.memory, b.memory, a.pinned, b.pinned};
    for (int i = 0; i < 4; i++) {
        cudaPointerAttributes attributes;
        CHECK(cudaPointerGetAttributes(&attributes, all[i]));
        EXPECT(attributes.device == i % 2, "pointer %d is of device %d", i, attributes.device);
    }
    int access = 1;
    CHECK(cudaDeviceCanAccessPeer(&access, 0, 1));
    EXPECT(access == 0, "kernels cannot reach the other device");
}

static void check_kernels(const device &a, const device &b)
{
    start_fill(0, a, 10, 0);
    start_fill(1, b, 20, 0);
    expect_memory(0, a, a.factor, 10, "kernel on 0");
    expect_memory(1, b, b.factor, 20, "kernel on 1");
}

static void check_peer_copies(const device &a, const device &b)
{
    start_fill(0, a, 30, 0);
    CHECK(cudaMemcpyPeer(b.memory, 1, a.memory, 0, BYTES));
    expect_memory(1, b, a.factor, 30, "cudaMemcpyPeer");

    start_fill(1, b, 40, 0);
    CHECK(cudaSetDevice(0));
    CHECK(cudaMemcpy(a.memory, b.memory, BYTES, cudaMemcpyDefault));
    expect_memory(0, a, b.factor, 40, "cudaMemcpy");

    /* In the order of a stream of either device, around kernels. */
    start_fill(0, a, 50, a.stream);
    CHECK(cudaMemcpyPeerAsync(b.memory, 1, a.memory, 0, BYTES, a.stream));
    start_fill(0, a, 51, a.stream);
    CHECK(cudaStreamSynchronize(a.stream));
    expect_memory(1, b, a.factor, 50, "cudaMemcpyPeerAsync from the stream's device");
    start_fill(0, a, 60, 0);
    CHECK(cudaDeviceSynchronize());
    CHECK(cudaSetDevice(1));
    start_fill(1, b, 61, b.stream);
    CHECK(cudaMemcpyPeerAsync(b.memory, 1, a.memory, 0, BYTES, b.stream));
    CHECK(cudaStreamSynchronize(b.stream));
    expect_memory(1, b, a.factor, 60, "cudaMemcpyPeerAsync to the stream's device");
}

/* A part of a box of rows, whose pitch differs. */
static void check_box(const device &a, const device &b)
{
    enum { WIDTH = 1000, ROWS = 700, FROM = 1024, TO = 2048 };
    start_fill(0, a, 70, 0);
    CHECK(cudaMemcpy2D(b.memory, TO * 4, a.memory, FROM * 4, WIDTH * 4, ROWS, cudaMemcpyDeviceToDevice));
    std::vector<uint32_t> host((size_t)TO * ROWS);
    CHECK(cudaSetDevice(1));
    CHECK(cudaMemcpy(host.data(), b.memory, host.size() * 4, cudaMemcpyDefault));
    for (uint32_t row = 0; row < ROWS; row++)
        for (uint32_t i = 0; i < WIDTH; i++)
            EXPECT(host[row * TO + i] == (row * FROM + i) * a.factor + 70, "row %u [%u]", row, i);
}

/* Host memory and the memory of a device that is not the current one. */
static void check_host_copies(const device &a, const device &b)
{
    std::vector<uint32_t> host(COUNT);
    start_fill(1, b, 80, 0);
    CHECK(cudaSetDevice(0));
    CHECK(cudaMemcpy(host.data(), b.memory, BYTES, cudaMemcpyDeviceToHost));
    expect(host.data(), b.factor, 80, COUNT, "to pageable memory");
    CHECK(cudaMemcpyAsync(a.pinned, b.memory, BYTES, cudaMemcpyDefault, a.stream));
    CHECK(cudaStreamSynchronize(a.stream));
    expect(a.pinned, b.factor, 80, COUNT, "to the other device's pinned memory");
    CHECK(cudaMemcpy(b.pinned, b.memory, BYTES, cudaMemcpyDefault));
    expect(b.pinned, b.factor, 80, COUNT, "to its own pinned memory");
    CHECK(cudaMemcpy(a.memory, b.pinned, BYTES, cudaMemcpyDefault));
    expect_memory(0, a, b.factor, 80, "from the other device's pinned memory");
}

static void check_errors(const device &a, const device &b)
{
    CHECK(cudaSetDevice(0));
    CHECK_ERROR(cudaMemcpy(a.memory, b.memory + 1, BYTES, cudaMemcpyDefault), cudaErrorInvalidValue);
    CHECK_ERROR(cudaMemcpyPeer(b.memory, 1, a.memory + COUNT, 0, 4), cudaErrorInvalidValue);
    uint32_t word;
    CHECK(cudaFree(b.memory));
    CHECK_ERROR(cudaMemcpy(&word, b.memory, 4, cudaMemcpyDefault), cudaErrorInvalidValue);
    CHECK(cudaGetLastError() == cudaErrorInvalidValue ? cudaSuccess : cudaErrorUnknown);
    CHECK(cudaFree(a.memory));
}

int main()
{
    int count = 0;
    CHECK(cudaGetDeviceCount(&count));
    EXPECT(count == 2, "%d devices", count);
    device a = open_device(0), b = open_device(1);
    check_addresses(a, b);
    check_kernels(a, b);
    check_peer_copies(a, b);
    check_box(a, b);
    check_host_copies(a, b);
    check_errors(a, b);
    puts("ok");
    return 0;
}
