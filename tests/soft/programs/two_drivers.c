/* Two devices whose drivers do not know of each other: no address means memory of both. */
#include "driver.h"

#define COUNT 24
#define BYTES (1 << 20)

static CUdeviceptr memory[2][COUNT];
static char host[BYTES];

int main(void)
{
    load_driver();
    CHECK(cuInit(0));
    CUcontext contexts[2];
    for (int device = 0; device < 2; device++)
        CHECK(cuDevicePrimaryCtxRetain(&contexts[device], device));
    for (int i = 0; i < COUNT; i++)
        for (int device = 0; device < 2; device++) {
            CHECK(cuCtxSetCurrent(contexts[device]));
            CHECK(cuMemAlloc_v2(&memory[device][i], BYTES));
            CHECK(cuMemsetD32_v2(memory[device][i], (unsigned)(device * 100 + i), BYTES / 4));
        }
    /* Read through either device's context. */
    for (int i = 0; i < COUNT; i++)
        for (int device = 0; device < 2; device++) {
            CHECK(cuCtxSetCurrent(contexts[(i + device) % 2]));
            CHECK(cuMemcpyDtoH_v2(host, memory[device][i], BYTES));
            unsigned value;
            memcpy(&value, host + BYTES - 4, sizeof value);
            EXPECT(value == (unsigned)(device * 100 + i), "device %d, allocation %d: %u", device, i, value);
        }
    for (int i = 0; i < COUNT; i++)
        for (int device = 0; device < 2; device++)
            CHECK(cuMemFree_v2(memory[device][i]));
    puts("ok");
    return 0;
}
