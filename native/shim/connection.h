/* The shim's end of the wire: one control socket per process, one data channel per device in use.
 *
 * Who owns what:
 *   - process state (session, devices, control socket): connection.c, under `state_lock`; how the
 *     control socket is spoken to: control.c;
 *   - a channel's ops socket: `send_lock`; its replies socket: whoever is the channel's leader, as
 *     calls.c has it;
 *   - the session page: written by the executor, read here with atomic loads.
 * A forked child inherits none of it: it forgets its parent's channels without closing their
 * sockets (libzmq's I/O thread does not exist there) and says HELLO anew. */
#ifndef TALLY_SHIM_CONNECTION_H
#define TALLY_SHIM_CONNECTION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tally/cuda.h"
#include "tally/protocol.h"

struct shim_channel;

/* What is seldom needed. It stays out of line, so that the functions which a launch passes
 * through are small enough to be compiled into one. */
#define SHIM_RARE __attribute__((noinline, cold))

/* ---- process -------------------------------------------------------------------------------- */

/* HELLO to tallyd. Cheap when done before; safe from any thread; works anew in a forked child. What
 * goes wrong is told on standard error too (tell.h). CUDA_ERROR_SYSTEM_NOT_READY: no daemon answers
 * within two seconds; CUDA_ERROR_NOT_PERMITTED: it refused; CUDA_ERROR_SYSTEM_DRIVER_MISMATCH:
 * another protocol version; CUDA_ERROR_NO_DEVICE: it has none. */
CUresult shim_init(void);

/* CUDA_SUCCESS after shim_init, else CUDA_ERROR_NOT_INITIALIZED, or CUDA_ERROR_DEINITIALIZED once
 * the process is exiting. One load; every exported function may ask. */
CUresult shim_ready(void);

/* Grows by one in every forked child; what was made under another generation is void there. */
uint32_t shim_generation(void);

/* `forget` runs in every forked child, before anything else there. It drops what was inherited.
 * A lock may be held by a thread that does not exist in the child: it may be made anew, not
 * taken. Register before shim_init. */
#define SHIM_FORK_HOOKS_MAX 16
void shim_on_fork(void (*forget)(void));

/* Decides which of tallyd's devices the program sees (visible.h), by its environment at the time
 * of cuInit. CUDA_ERROR_NO_DEVICE if none. */
CUresult shim_devices_choose(void);

/* What HELLO told; ordinals count what the program sees. None before shim_devices_choose. NULL
 * where `ordinal` is out of range or before shim_init. */
const struct tally_device_info *shim_device(int ordinal);
int shim_device_count(void);
int shim_driver_version(void); /* 0 before shim_init */

/* The channel to a device's executor, opened on first use and kept for the life of the process.
 * CUDA_ERROR_INVALID_DEVICE, CUDA_ERROR_DEVICE_UNAVAILABLE, CUDA_ERROR_SYSTEM_NOT_READY. */
CUresult shim_channel_open(int device, struct shim_channel **channel);

/* Counts a call of a function that is not supported, tells tallyd at 1, 2, 4, 8, ... calls, and
 * returns CUDA_ERROR_NOT_SUPPORTED. `calls` is the caller's counter for this symbol (static, zero
 * at first). */
CUresult shim_unsupported(const char *symbol, uint64_t *calls);

/* ---- channel -------------------------------------------------------------------------------- */

int shim_channel_device(const struct shim_channel *channel);
const struct tally_device_info *
shim_channel_info(const struct shim_channel *channel); /* of its device */
/* Whether the address can only be device memory: in the region of an open channel whose region is
 * known. */
bool shim_is_device_address(uint64_t address);

/* What every call of the API starts with: CUDA_SUCCESS, the sticky error of the context, or
 * CUDA_ERROR_DEVICE_UNAVAILABLE when the executor is gone, CUDA_ERROR_NOT_INITIALIZED in a forked
 * child. */
CUresult shim_channel_check(struct shim_channel *channel);

/* Sends one op: `op` with `op_bytes` bytes, starting with struct tally_op whose code and call_id
 * the caller has set; `bytes` and `flags` are filled in here. The tail (may be empty) follows in
 * the same frame. Blocks while the executor's queue is full; program order is the order of these
 * calls. */
CUresult shim_send(struct shim_channel *channel, void *op, size_t op_bytes, const void *tail,
                   size_t tail_bytes);

/* ---- calls ---------------------------------------------------------------------------------- */

/* One call under way, from shim_call_begin to shim_call_end; what the receiver of replies knows of
 * it is `pending`. */
struct shim_call {
    struct shim_pending *pending;
    void *reply; /* gets at most reply_bytes bytes; the rest of it is zeroed */
    size_t reply_bytes;
    void *tail; /* bytes beyond reply_bytes, malloc'ed, if keep_tail; the caller's to free */
    size_t tail_bytes;
    bool keep_tail;
    bool leavable; /* the caller holds nothing: its thread may be cancelled while it waits */
};

/* Sends `op` as a call. On an error nothing is pending and shim_call_end must not be called. */
CUresult shim_call_begin(struct shim_channel *channel, struct shim_call *call, void *op,
                         size_t op_bytes, const void *tail, size_t tail_bytes);

/* Waits for the reply; its result, or why there is none. */
CUresult shim_call_end(struct shim_channel *channel, struct shim_call *call);

/* Both. `reply` must start with struct tally_reply; call->tail and the like are at their defaults.
 */
CUresult shim_call(struct shim_channel *channel, void *op, size_t op_bytes, const void *tail,
                   size_t tail_bytes, void *reply, size_t reply_bytes);

/* The same for calls that wait for the device: also takes an asynchronous error that is due. */
CUresult shim_call_sync(struct shim_channel *channel, void *op, size_t op_bytes, void *reply,
                        size_t reply_bytes);

/* An error of an earlier one-way op, told once; CUDA_SUCCESS if there is none. */
CUresult shim_take_async_error(struct shim_channel *channel);

/* ---- slots of the shared segment ------------------------------------------------------------ */

struct shim_slot {
    uint32_t index;
    uint32_t sequence; /* to be sent with the op that uses the slot */
    uint64_t offset;   /* of its first byte in the slot area: TALLY_PLACE_SLOT address */
    uint8_t *bytes;
};

uint32_t shim_slot_bytes(const struct shim_channel *channel);
uint32_t shim_slot_count(const struct shim_channel *channel);

/* The file of a piece of shared memory, from the reply that names it; -1: it did not come. */
int shim_channel_memory(struct shim_channel *channel, uint64_t number, uint64_t bytes);

/* Takes a slot that the executor is done with. Without `wait`, CUDA_ERROR_NOT_READY when other
 * threads hold all of them (a thread that holds slots must not wait for more). */
CUresult shim_slot_take(struct shim_channel *channel, bool wait, struct shim_slot *slot);

/* Gives the slot back: `sent` says that an op with its sequence is on its way. */
void shim_slot_give(struct shim_channel *channel, const struct shim_slot *slot, bool sent);

#endif
