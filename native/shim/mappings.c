#include "mappings.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>

/* start-end perms offset major:minor inode   path */
static bool parse(const char *line, struct shim_mapping *mapping)
{
    char permissions[5];
    unsigned major_number, minor_number;
    int path_at = 0;
    if (sscanf(line, "%lx-%lx %4s %lx %x:%x %lu %n", &mapping->start, &mapping->end, permissions,
               &mapping->offset, &major_number, &minor_number, &mapping->inode, &path_at) < 7)
        return false;
    mapping->readable = permissions[0] == 'r';
    mapping->writable = permissions[1] == 'w';
    mapping->shared = permissions[3] == 's';
    mapping->device = makedev(major_number, minor_number);
    mapping->path[0] = 0;
    size_t length = path_at ? strcspn(line + path_at, "\n") : 0;
    if (length && length < sizeof mapping->path && line[path_at] == '/') {
        memcpy(mapping->path, line + path_at, length);
        mapping->path[length] = 0;
    }
    return true;
}

/* Without /proc nobody can tell: the program's word is taken, as a driver would take it. */
static bool trust(const void *address, struct shim_mapping *mapping, size_t *available)
{
    *mapping =
        (struct shim_mapping){.start = (uintptr_t)address, .end = UINT64_MAX, .readable = true};
    *available = address ? (size_t)UINT32_MAX : 0;
    return address != NULL;
}

bool shim_mapping_find(const void *address, struct shim_mapping *mapping, size_t *available)
{
    FILE *maps = fopen("/proc/self/maps", "re");
    if (!maps)
        return trust(address, mapping, available);
    uint64_t at = (uintptr_t)address, end = 0; /* end: of the readable stretch so far */
    char *line = NULL;
    size_t room = 0;
    struct shim_mapping here;
    while (getline(&line, &room, maps) > 0 && parse(line, &here)) {
        if (!end && here.start <= at && at < here.end && here.readable) {
            *mapping = here;
            end = here.end;
        } else if (end) {
            if (here.start != end || !here.readable || here.device != mapping->device ||
                here.inode != mapping->inode)
                break;
            end = here.end;
        }
    }
    free(line);
    fclose(maps);
    *available = end ? end - at : 0;
    return end != 0;
}
