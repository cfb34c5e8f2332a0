/* Prints free and total device memory in bytes. */
#include "driver.h"

int main(void)
{
    CUdevice device;
    CUcontext context;
    size_t free_bytes, total_bytes;
    load_driver();
    CHECK(cuInit(0));
    CHECK(cuDeviceGet(&device, 0));
    CHECK(cuCtxCreate_v2(&context, 0, device));
    CHECK(cuMemGetInfo_v2(&free_bytes, &total_bytes));
    printf("%zu %zu\n", free_bytes, total_bytes);
    return 0;
}
