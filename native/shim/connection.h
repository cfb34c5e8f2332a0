/* The client's way to tallyd and the executors: one control connection a process, one channel a device. */
#ifndef TALLY_SHIM_CONNECTION_H
#define TALLY_SHIM_CONNECTION_H

#include <stdint.h>

#include "tally/cuda.h"
#include "tally/protocol.h"

struct shim_channel; /* one per device used, opened lazily */

/* HELLO, once per process; idempotent, safe from any thread, starts anew in a forked child. */
CUresult shim_init(void);
/* What HELLO answered; NULL before a successful shim_init. */
const struct tally_hello_reply *shim_hello(void);
const struct tally_device_info *shim_device(uint32_t index);

CUresult shim_channel_open(uint32_t device, struct shim_channel **out);
CUresult shim_send(struct shim_channel *channel, void *message, uint32_t bytes);
/* Fills in call_id, waits, and returns the reply's CUresult. */
CUresult shim_call(struct shim_channel *channel, void *message, uint32_t bytes, void *reply,
                   uint32_t reply_bytes_max, uint32_t *reply_bytes);
void shim_count_unsupported(const char *symbol);

#endif
