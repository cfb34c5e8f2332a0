/* softgpu's driver without its block executor: memory, queues, events, tenants, faults.
 * Usage: softgpu_test [suite]; all of them by default. */
#include "softgpu_fake.h"

#include <string.h>

static const struct {
    const char *name;
    void (*run)(void);
} suites[] = {
    {"device", test_device},         {"memory", test_memory},   {"copies", test_copies},
    {"modules", test_modules},       {"images", test_images},   {"streams", test_streams},
    {"priorities", test_priorities}, {"events", test_events},   {"values", test_values},
    {"tenants", test_tenants},       {"handles", test_handles}, {"stress", test_stress},
};

int main(int argc, char **argv)
{
    EXPECT(CUDA_ERROR_NOT_INITIALIZED, cuCtxSynchronize());
    OK(softgpuConfigure(1, 3, 256ull << 20, 0));
    OK(cuInit(0));
    bool found = false;
    for (size_t i = 0; i < sizeof suites / sizeof *suites; i++) {
        if (argc > 1 && strcmp(argv[1], suites[i].name) != 0)
            continue;
        found = true;
        printf("%s\n", suites[i].name);
        fflush(stdout);
        suites[i].run();
    }
    return found ? 0 : 2;
}
