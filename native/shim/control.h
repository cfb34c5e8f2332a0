/* The control socket: the process's way to tallyd. Not locked here: who has a control lets one
 * thread at a time use it (connection.c). */
#ifndef TALLY_SHIM_CONTROL_H
#define TALLY_SHIM_CONTROL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>
#include <time.h>

#include "tally/cuda.h"
#include "tally/protocol.h"

#define SHIM_CONTROL_PATH_BYTES (TALLY_PATH_BYTES_MAX + 32)

struct shim_control {
    void *zmq; /* libzmq's context, of the channels' sockets too; NULL while not connected */
    void *socket;
    int fd; /* libzmq's own, to see whether it is still open */
    char path[SHIM_CONTROL_PATH_BYTES];
    struct stat file; /* at `path` when it was connected to */
    uint32_t sequence;
};

/* CUDA_ERROR_SYSTEM_NOT_READY, told on standard error: nobody listens there. After an error too,
 * shim_control_disconnect. */
CUresult shim_control_connect(struct shim_control *control);

/* `all`: also libzmq's context, once the messages that have been sent are out, at most the linger
 * time. It would wait for ever for sockets of channels that are still open. */
void shim_control_disconnect(struct shim_control *control, bool all);

/* In a forked child: the parent's socket is left alone. */
void shim_control_forget(struct shim_control *control);

/* Whether the program has closed libzmq's descriptors, of which the next use would abort. */
bool shim_control_unplugged(const struct shim_control *control);

/* The folder of the socket, in which executors have theirs. */
void shim_control_folder(const struct shim_control *control, char *out, size_t bytes);

/* One request and its reply, of which *size gets the payload's size. tallyd's refusals are told on
 * standard error. CUDA_ERROR_SYSTEM_NOT_READY: no answer within `seconds_max`, or tallyd is gone.
 */
CUresult shim_control_request(struct shim_control *control, uint16_t type, const void *payload,
                              size_t bytes, void *reply, size_t capacity, size_t *size,
                              time_t seconds_max);

/* A message whose answer nobody waits for. */
void shim_control_notify(struct shim_control *control, uint16_t type, const void *payload,
                         size_t bytes);

#endif
