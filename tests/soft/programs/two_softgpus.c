/* A libcuda.so.1 that is softgpu with two devices, for a tallyd that takes it for the machine's driver. */
#include <stdint.h>

int softgpuConfigure(uint32_t devices, uint32_t workers, uint64_t memory_bytes, int dry);

__attribute__((constructor)) static void configure(void)
{
    softgpuConfigure(2, 1, 256u << 20, 0);
}
