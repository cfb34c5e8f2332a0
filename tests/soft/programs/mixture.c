/* Does everything that a training program does, in random order, until it is killed: mixture SEED.
 * Says "ready" once it has begun. */
#include "driver.h"

enum { SLOTS = 8, N = 1 << 16 };

static uint32_t state;

static uint32_t draw(uint32_t below)
{
    state ^= state << 13;
    state ^= state >> 17;
    state ^= state << 5;
    return state % below;
}

static CUdeviceptr memory[SLOTS];
static CUmodule modules[SLOTS];
static CUstream streams[SLOTS];
static uint32_t host[N];

static void alloc(int slot)
{
    if (memory[slot])
        CHECK(cuMemFree_v2(memory[slot]));
    CHECK(cuMemAlloc_v2(&memory[slot], sizeof host + draw(1 << 22)));
}

static void load(int slot)
{
    if (modules[slot])
        CHECK(cuModuleUnload(modules[slot]));
    CHECK(cuModuleLoadData(&modules[slot], scale_ptx));
}

static void stream(int slot)
{
    if (streams[slot])
        CHECK(cuStreamDestroy_v2(streams[slot]));
    CHECK(cuStreamCreate(&streams[slot], draw(2)));
}

static void launch(void)
{
    CUfunction function;
    CUdeviceptr out = memory[draw(SLOTS)], in = memory[draw(SLOTS)];
    int factor = (int)draw(100);
    uint32_t n = 1 + draw(N);
    void *params[] = {&out, &in, &factor, &n};
    CHECK(cuModuleGetFunction(&function, modules[draw(SLOTS)], "scale"));
    for (uint32_t left = draw(40); left > 0; left--)
        CHECK(cuLaunchKernel(function, (n + 127) / 128, 1, 1, 128, 1, 1, 0, streams[draw(SLOTS)], params, NULL));
}

static void copy(void)
{
    size_t bytes = 4 * (1 + draw(N));
    if (draw(2))
        CHECK(cuMemcpyHtoD_v2(memory[draw(SLOTS)], host, bytes));
    else
        CHECK(cuMemcpyDtoH_v2(host, memory[draw(SLOTS)], bytes));
}

int main(int argc, char **argv)
{
    CUdevice device;
    CUcontext context;
    state = argc > 1 ? (uint32_t)atoi(argv[1]) * 2654435761u + 1 : 1;
    load_driver();
    CHECK(cuInit(0));
    CHECK(cuDeviceGet(&device, 0));
    CHECK(cuCtxCreate_v2(&context, 0, device));
    for (int slot = 0; slot < SLOTS; slot++) {
        alloc(slot);
        load(slot);
        stream(slot);
    }
    puts("ready");
    fflush(stdout);
    for (;;) {
        switch (draw(8)) {
        case 0: alloc((int)draw(SLOTS)); break;
        case 1: load((int)draw(SLOTS)); break;
        case 2: stream((int)draw(SLOTS)); break;
        case 3: copy(); break;
        case 4: CHECK(cuStreamSynchronize(streams[draw(SLOTS)])); break;
        case 5: CHECK(cuCtxSynchronize()); break;
        default: launch(); break;
        }
    }
}
