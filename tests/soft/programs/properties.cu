/* What programs ask about the device, a kernel and a pointer before they do anything. */
#include "check.h"
#include <cstring>

__global__ void __launch_bounds__(128) kernel(float *data) { data[threadIdx.x] *= 2; }

int main()
{
    int count = 0, driver = 0, runtime = 0, blocks = 0, least = 0, greatest = 0;
    CHECK(cudaGetDeviceCount(&count));
    EXPECT(count >= 1, "%d devices", count);
    CHECK(cudaDriverGetVersion(&driver));
    CHECK(cudaRuntimeGetVersion(&runtime));
    EXPECT(driver / 1000 >= runtime / 1000, "driver %d, runtime %d", driver, runtime);
    EXPECT(runtime == CUDART_VERSION, "runtime %d, built for %d", runtime, CUDART_VERSION);
    cudaDeviceProp properties;
    CHECK(cudaGetDeviceProperties(&properties, 0));
    EXPECT(properties.name[0], "the device has no name");
    EXPECT(properties.warpSize == 32, "warp size %d", properties.warpSize);
    EXPECT(properties.major >= 7, "compute capability %d.%d", properties.major, properties.minor);
    EXPECT(properties.totalGlobalMem > 1u << 20, "memory %zu", properties.totalGlobalMem);
    EXPECT(properties.multiProcessorCount > 0, "%d multiprocessors", properties.multiProcessorCount);
    cudaFuncAttributes attributes;
    CHECK(cudaFuncGetAttributes(&attributes, kernel));
    EXPECT(attributes.maxThreadsPerBlock == 128, "threads %d", attributes.maxThreadsPerBlock);
    EXPECT(attributes.numRegs > 0, "registers %d", attributes.numRegs);
    CHECK(cudaOccupancyMaxActiveBlocksPerMultiprocessor(&blocks, kernel, 128, 0));
    EXPECT(blocks > 0, "occupancy %d", blocks);
    CHECK(cudaDeviceGetStreamPriorityRange(&least, &greatest));
    EXPECT(greatest < least, "priorities %d to %d", least, greatest);
    EXPECT(strcmp(cudaGetErrorName(cudaErrorIllegalAddress), "cudaErrorIllegalAddress") == 0, "error name");
    CHECK(cudaDeviceReset());
    float *data;
    CHECK(cudaMalloc(&data, 512));
    CHECK(cudaMemset(data, 0, 512));
    kernel<<<1, 128>>>(data);
    CHECK(cudaDeviceSynchronize());
    printf("%s, compute capability %d.%d, %d multiprocessors\n", properties.name, properties.major, properties.minor,
           properties.multiProcessorCount);
    puts("ok");
}
