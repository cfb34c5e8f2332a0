/* CUDA_VISIBLE_DEVICES where devices are MIG instances; tests/soft/test_visible.py has the other
 * forms. */
#include <stdbool.h>
#include <string.h>

#include "check.h"
#include "shim/visible.h"

#define UUID "00112233-4455-6677-8899-aabbccddee"

/* Two GPUs, 0 and 3, and two MIG instances, 1 and 2; the last byte of their UUIDs tells them apart.
 */
static void make(struct tally_device_info devices[4])
{
    static const char start[] = {0x00,       0x11,       0x22,       0x33,       0x44,
                                 0x55,       0x66,       0x77,       (char)0x88, (char)0x99,
                                 (char)0xaa, (char)0xbb, (char)0xcc, (char)0xdd, (char)0xee};
    memset(devices, 0, 4 * sizeof *devices);
    for (int i = 0; i < 4; i++) {
        bool mig = i == 1 || i == 2;
        strcpy(devices[i].name, mig ? "NVIDIA A100-SXM4-40GB MIG 1g.5gb" : "NVIDIA A100-SXM4-40GB");
        memcpy(devices[i].uuid, start, sizeof start);
        devices[i].uuid[15] = (char)i;
    }
}

/* The devices that are seen, as digits of one number behind a 1. */
static int seen(const char *list)
{
    struct tally_device_info devices[4];
    uint32_t out[TALLY_DEVICES_MAX];
    make(devices);
    uint32_t count = shim_visible_devices(devices, 4, list, NULL, out);
    int digits = 1;
    for (uint32_t i = 0; i < count; i++)
        digits = digits * 10 + (int)out[i];
    return digits;
}

int main(void)
{
    CHECK(seen(NULL) == 10123);
    CHECK(seen("MIG-" UUID "01") == 11);
    CHECK(seen(" MIG-" UUID "02 ") == 12);
    CHECK(seen("MIG-00112233-4455-6677-8899-AABBCCDDEE02") == 12);
    /* One at most. */
    CHECK(seen("MIG-" UUID "02,MIG-" UUID "01") == 12);
    CHECK(seen("MIG-" UUID "02,GPU-" UUID "03") == 12);
    /* What is not here hides itself and what is behind it. */
    CHECK(seen("MIG-" UUID "07") == 1);
    CHECK(seen("MIG-" UUID "07,MIG-" UUID "01") == 1);
    CHECK(seen("GPU-" UUID "03,MIG-" UUID "01,GPU-" UUID "00") == 13);
    CHECK(seen("0,MIG-" UUID "01,3") == 10);
    /* Each kind by its own prefix; a part of a name that fits two is none. */
    CHECK(seen("MIG-" UUID "00") == 1);
    CHECK(seen("GPU-" UUID "01") == 1);
    CHECK(seen("MIG-0011") == 1);
    CHECK(seen("MIG-") == 1);
    /* By GPU and numbers: not known here. */
    CHECK(seen("MIG-GPU-" UUID "00/1/0") == 1);
    CHECK(seen("MIG-GPU-" UUID "00/1/0,MIG-" UUID "01") == 1);
    CHECK(seen("MIG-GPU-") == 1);
    return CHECK_RESULT();
}
