/* Shared memory as it comes from the executor: files without a name, over a unix socket
 * (protocol.md). */
#ifndef TALLY_SHIM_HANDOVER_H
#define TALLY_SHIM_HANDOVER_H

#include <stdint.h>
#include <sys/types.h>

#include "tally/locks.h"

#define SHIM_HANDED_MAX 16

struct shim_handover {
    struct tally_mutex lock; /* also held by whoever receives */
    int socket;              /* -1: none */
    ino_t inode; /* the program may have closed it, and opened another one of its number */
    struct {
        uint64_t number; /* 0: free */
        int fd;
    } early[SHIM_HANDED_MAX] GUARDED_BY(lock); /* came while another thread waited for its own */
};

/* 0 or -1. */
int shim_handover_connect(struct shim_handover *handover, const char *path);
/* The file of that number, of `bytes` at least; it is the caller's. -1: it did not come. */
int shim_handover_take(struct shim_handover *handover, uint64_t number, uint64_t bytes);
void shim_handover_close(struct shim_handover *handover);

#endif
