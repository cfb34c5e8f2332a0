/* Copies of every shape: pitched, 3D, device to device, mapped pinned memory; memsets. */
#include "check.h"
#include <cstring>
#include <vector>

__global__ void bump(int *data, int n)
{
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n)
        data[i] += 1;
}

static void pitched()
{
    const size_t width = 100, height = 37;
    std::vector<uint8_t> host(width * height), back(width * height, 0);
    for (size_t i = 0; i < host.size(); i++)
        host[i] = (uint8_t)(i * 7);
    uint8_t *a, *b;
    size_t pitch_a, pitch_b;
    CHECK(cudaMallocPitch(&a, &pitch_a, width, height));
    CHECK(cudaMallocPitch(&b, &pitch_b, width + 300, height));
    EXPECT(pitch_a >= width && pitch_a % 64 == 0, "pitch %zu", pitch_a);
    CHECK(cudaMemcpy2D(a, pitch_a, host.data(), width, width, height, cudaMemcpyHostToDevice));
    CHECK(cudaMemset2D(b, pitch_b, 0x55, width, height));
    CHECK(cudaMemcpy2D(b, pitch_b, a, pitch_a, width / 2, height, cudaMemcpyDeviceToDevice));
    CHECK(cudaMemcpy2D(back.data(), width, b, pitch_b, width, height, cudaMemcpyDeviceToHost));
    for (size_t row = 0; row < height; row++)
        for (size_t x = 0; x < width; x++) {
            uint8_t wanted = x < width / 2 ? host[row * width + x] : 0x55;
            EXPECT(back[row * width + x] == wanted, "2D at %zu,%zu", row, x);
        }
    CHECK(cudaFree(a));
    CHECK(cudaFree(b));
}

static void boxes()
{
    const size_t width = 24, height = 9, depth = 5;
    std::vector<float> host(width * height * depth), back(host.size(), -1);
    for (size_t i = 0; i < host.size(); i++)
        host[i] = (float)i;
    cudaPitchedPtr device;
    cudaExtent extent = make_cudaExtent(width * sizeof(float), height, depth);
    CHECK(cudaMalloc3D(&device, extent));
    cudaMemcpy3DParms copy;
    memset(&copy, 0, sizeof copy);
    copy.srcPtr = make_cudaPitchedPtr(host.data(), width * 4, width, height);
    copy.dstPtr = device;
    copy.extent = extent;
    copy.kind = cudaMemcpyHostToDevice;
    CHECK(cudaMemcpy3D(&copy));
    copy.srcPtr = device;
    copy.dstPtr = make_cudaPitchedPtr(back.data(), width * 4, width, height);
    copy.kind = cudaMemcpyDeviceToHost;
    CHECK(cudaMemcpy3D(&copy));
    EXPECT(host == back, "3D copies differ");
    CHECK(cudaFree(device.ptr));
}

static void pinned()
{
    const int n = 10000;
    int *host, *alias, *device;
    CHECK(cudaHostAlloc(&host, n * 4, cudaHostAllocMapped));
    for (int i = 0; i < n; i++)
        host[i] = i;
    CHECK(cudaHostGetDevicePointer(&alias, host, 0));
    bump<<<(n + 255) / 256, 256>>>(alias, n);
    CHECK(cudaDeviceSynchronize());
    for (int i = 0; i < n; i++)
        EXPECT(host[i] == i + 1, "mapped at %d: %d", i, host[i]);
    CHECK(cudaMalloc(&device, n * 4));
    CHECK(cudaMemcpyAsync(device, host, n * 4, cudaMemcpyDefault, 0));
    bump<<<(n + 255) / 256, 256>>>(device, n);
    CHECK(cudaMemcpyAsync(host, device, n * 4, cudaMemcpyDefault, 0));
    CHECK(cudaStreamSynchronize(0));
    for (int i = 0; i < n; i++)
        EXPECT(host[i] == i + 2, "pinned copy at %d: %d", i, host[i]);
    cudaPointerAttributes attributes;
    CHECK(cudaPointerGetAttributes(&attributes, device));
    EXPECT(attributes.type == cudaMemoryTypeDevice, "type of device memory %d", (int)attributes.type);
    CHECK(cudaPointerGetAttributes(&attributes, host));
    EXPECT(attributes.type == cudaMemoryTypeHost, "type of pinned memory %d", (int)attributes.type);
    CHECK(cudaFreeHost(host));
    CHECK(cudaFree(device));
}

/* Large enough to go through several pieces of any staging buffer, at odd offsets. */
static void large()
{
    const size_t n = (24u << 20) + 12345;
    std::vector<uint8_t> host(n), back(n);
    uint32_t seed = 5;
    for (size_t i = 0; i < n; i += 97)
        host[i] = (uint8_t)next_random(&seed);
    uint8_t *a, *b;
    CHECK(cudaMalloc(&a, n + 64));
    CHECK(cudaMalloc(&b, n + 64));
    CHECK(cudaMemcpy(a + 3, host.data(), n, cudaMemcpyHostToDevice));
    CHECK(cudaMemcpy(b + 5, a + 3, n, cudaMemcpyDeviceToDevice));
    CHECK(cudaMemcpy(back.data(), b + 5, n, cudaMemcpyDeviceToHost));
    EXPECT(host == back, "large copies differ");
    size_t free_before, free_after, total;
    CHECK(cudaMemGetInfo(&free_before, &total));
    CHECK(cudaFree(a));
    CHECK(cudaFree(b));
    CHECK(cudaMemGetInfo(&free_after, &total));
    EXPECT(free_after >= free_before + 2 * n, "free memory %zu, then %zu", free_before, free_after);
}

int main()
{
    pitched();
    boxes();
    pinned();
    large();
    puts("ok");
}
