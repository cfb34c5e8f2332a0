/* Modules and libraries, and their variables. To the executor a library is a module. A library is
 * for every device: another executor is sent it, under the same handles, when it is first used
 * there. */
#ifndef TALLY_SHIM_MODULES_H
#define TALLY_SHIM_MODULES_H

#include <stdbool.h>
#include <stdint.h>

#include "connection.h"
#include "context.h"
#include "image.h"
#include "tally/locks.h"

#define SHIM_MODULE_BUCKETS 64u

struct shim_function;

struct shim_module {
    uint64_t handle;
    struct shim_channel *channel;
    struct shim_context *context; /* NULL: a library, which outlives contexts */
    bool library;
    struct shim_image image; /* a library's, while there are several devices; else empty */
    struct tally_mutex lock;
    uint32_t devices GUARDED_BY(lock); /* a bit for each that has it */
    struct shim_function *buckets[SHIM_MODULE_BUCKETS] GUARDED_BY(lock);
    /* Addresses that the table of ranges knows because of this module. */
    uint64_t *globals GUARDED_BY(lock);
    uint32_t global_count GUARDED_BY(lock), global_capacity GUARDED_BY(lock);
};

/* NULL: not a live module or library. Lock-free. */
struct shim_module *shim_module_get(uint64_t handle);

/* Where the caller wants compiler output; any field may be empty. */
struct shim_module_log {
    char *info, *error;
    size_t info_bytes, error_bytes;   /* room */
    size_t info_filled, error_filled; /* out */
};

/* Loads an image. `file`: name it so if the executor can read it; may be NULL. */
CUresult shim_module_load(const struct shim_image *image, const struct shim_image_file *file,
                          bool library, struct shim_module_log *log, struct shim_module **out);
CUresult shim_module_unload(struct shim_module *module);

/* The device's bit in the sets of devices that have a module or a function. */
static inline uint32_t shim_device_bit(const struct shim_channel *channel)
{
    _Static_assert(TALLY_DEVICES_MAX <= 32, "one bit each");
    return 1u << shim_channel_device(channel);
}

/* A library's variable is the one on the current context's device. */
CUresult shim_module_global(struct shim_module *module, const char *name, uint64_t *address,
                            uint64_t *bytes);

#endif
