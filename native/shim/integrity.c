/* INTEGRITY: libcudart checks at start-up that the driver below it is whole, three times per copy.
 */
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

#include "connection.h"
#include "digest.h"
#include "generated/custom.h"
#include "tables.h"

static const uint8_t key[SHIM_DIGEST_BYTES] = {
    0x14, 0x6a, 0xdd, 0xae, 0x53, 0xa9, 0xa7, 0x52, 0xaa, 0x08, 0x41, 0x36, 0x0b, 0xf5, 0x5a, 0x9f,
};
/* What two kinds of version ask for instead of a digest. */
static const uint64_t constant_0[2] = {0x3341181C03CB675Cull, 0x8ED383AA1F4CD1E8ull};
static const uint64_t constant_1[2] = {0x1841181C03CB675Cull, 0x8ED383AA1F4CD1E8ull};

/* Written once, before the table that leads to shim_integrity_check is handed out. */
static const void *cudart_table, *integrity_table;

void shim_integrity_tables(const void *cudart, const void *integrity)
{
    cudart_table = cudart;
    integrity_table = integrity;
}

struct process_part {
    uint32_t driver_version, version, pid, thread;
    uint64_t cudart, integrity, check;
    uint64_t unix_seconds;
};
_Static_assert(sizeof(struct process_part) == 48, "digested without padding");

struct device_part {
    uint8_t uuid[16];
    int32_t pci_domain, pci_bus, pci_device;
};
_Static_assert(sizeof(struct device_part) == 28, "digested without padding");

CUresult shim_integrity_check(uint32_t version, uint64_t unix_seconds, uint8_t out[16])
{
    if (version % 10 < 2) {
        memcpy(out, version % 10 == 0 ? constant_0 : constant_1, SHIM_DIGEST_BYTES);
        return CUDA_SUCCESS;
    }
    int driver_version;
    shim_cuDriverGetVersion(&driver_version);
    struct process_part process = {
        .driver_version = (uint32_t)driver_version,
        .version = version,
        .pid = (uint32_t)getpid(),
        .thread = (uint32_t)(uintptr_t)pthread_self(),
        .cudart = (uintptr_t)cudart_table,
        .integrity = (uintptr_t)integrity_table,
        .check = (uintptr_t)((void *const *)integrity_table)[1],
        .unix_seconds = unix_seconds,
    };
    struct shim_hmac hmac;
    shim_hmac_start(&hmac, key);
    shim_hmac_add(&hmac, &process, sizeof process);
    for (int i = 0; i < shim_device_count(); i++) {
        const struct tally_device_info *info = shim_device(i);
        struct device_part device = {
            .pci_domain = info->attributes[CU_DEVICE_ATTRIBUTE_PCI_DOMAIN_ID],
            .pci_bus = info->attributes[CU_DEVICE_ATTRIBUTE_PCI_BUS_ID],
            .pci_device = info->attributes[CU_DEVICE_ATTRIBUTE_PCI_DEVICE_ID],
        };
        memcpy(device.uuid, info->uuid, sizeof device.uuid);
        shim_hmac_add(&hmac, &device, sizeof device);
    }
    shim_hmac_end(&hmac, out);
    return CUDA_SUCCESS;
}
