/* What is mapped where in this process: /proc/self/maps. */
#ifndef TALLY_SHIM_MAPPINGS_H
#define TALLY_SHIM_MAPPINGS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tally/protocol.h"

struct shim_mapping {
    uint64_t start, end;
    bool readable, writable, shared;
    uint64_t offset; /* in the file */
    uint64_t device, inode;
    char path[TALLY_PATH_BYTES_MAX]; /* empty: no file */
};

/* The mapping that holds the address, and in *available how many bytes from there on are readable,
 * over adjacent mappings of the same file or of none: what lies behind may be a file that is
 * shorter than its mapping, whose pages are a SIGBUS. False: not mapped readable. Where /proc is
 * not mounted any address is taken to be readable, and no file is known. */
bool shim_mapping_find(const void *address, struct shim_mapping *mapping, size_t *available);

#endif
