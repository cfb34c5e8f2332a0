/* Inside of a channel; for channel.c, calls.c, slots.c, texts.c and stream_work.c only. */
#ifndef TALLY_SHIM_CHANNEL_H
#define TALLY_SHIM_CHANNEL_H

#include <pthread.h>
#include <stdatomic.h>

#include "connection.h"
#include "handover.h"
#include "lock.h"
#include "tally/locks.h"
#include "wire/message.h"
#include "wire/zmq.h"

/* How long a blocked thread sleeps before it looks whether the executor still lives. */
#define SHIM_WATCH_MS 100
#define SHIM_ROOM_MS 5 /* ... when it waits for room in the queue of ops */
#define SHIM_LINGER_MS 200
#define SHIM_SOCKET_PATH_BYTES 108 /* as in struct sockaddr_un */
/* Ops in libzmq's queue before a sender blocks: enough to keep the executor fed over a scheduling
 * hiccup. */
#define SHIM_OPS_QUEUED_MAX 1000

struct shim_channel {
    struct tally_session_page *page;
    uint8_t *slots; /* slot_count * slot_bytes, right after the page */
    size_t segment_bytes;
    uint32_t slot_count, slot_bytes;
    uint64_t region_base, region_bytes; /* of device addresses; 0: not known */
    struct shim_handover handover;
    int device;
    const struct tally_device_info *info;
    uint32_t generation;
    _Atomic uint32_t fault;       /* CUresult that every call returns from now on; 0: alive */
    _Atomic uint32_t async_error; /* CUresult to be told by the next synchronizing call */

    struct shim_lock send_lock;
    void *ops POINTEE_GUARDED_BY(send_lock); /* the ops socket */
    int ops_fd;                              /* readable when the ops socket may have room again */

    struct shim_lock call_lock; /* held for a moment */
    struct shim_pending *pending GUARDED_BY(call_lock);
    /* What kernels printed, until a thread of the program writes it. Looked at without the lock as
     * well. */
    struct shim_text *texts;
    struct shim_text **last_text GUARDED_BY(call_lock);
    _Atomic bool told; /* text for standard error has come */
    _Atomic uint64_t next_call;

    struct tally_mutex receive_lock; /* taken with signals blocked */
    void *replies; /* the replies socket: made and closed alone, received from under receive_lock */
    int replies_fd; /* readable when something has come */
    _Atomic uintptr_t
        leader;            /* the thread that looks after replies_fd, a hint (calls.c); 0: none */
    _Atomic uint32_t beat; /* grows while the leader is alive */

    struct tally_mutex monitor_lock;
    void *monitor GUARDED_BY(monitor_lock); /* PAIR: connection events of the replies socket */

    struct tally_mutex slot_lock;
    pthread_cond_t slot_wake;
    bool slot_held[TALLY_SLOTS_MAX] GUARDED_BY(slot_lock);
    uint64_t slots_sent GUARDED_BY(slot_lock);
    uint64_t slot_sent[TALLY_SLOTS_MAX] GUARDED_BY(slot_lock); /* slots_sent when it went */
    /* Last one sent. Read without the lock by the thread that holds the slot. */
    uint32_t slot_sequence[TALLY_SLOTS_MAX];
};

/* Connects to what OPEN told of, in `folder`. On failure *out is NULL. */
CUresult shim_channel_create(void *zmq, int device, uint32_t generation, const char *folder,
                             const struct tally_open_reply *open, struct shim_channel **out);

/* At exit: tells the executor and closes what no other thread is using. True if all sockets are
 * closed. */
bool shim_channel_close(struct shim_channel *channel);

/* Sends whatever the channel's state; CUDA_SUCCESS or the fault that prevents it. */
CUresult shim_channel_transmit(struct shim_channel *channel, struct tally_op *op, size_t op_bytes,
                               const void *tail, size_t tail_bytes);

/* The same for a message that the caller has built, header and all, after shim_channel_check. Takes
 * the message over, also on failure. */
CUresult shim_channel_post(struct shim_channel *channel, struct tally_zmq_message *message);

/* In the region of its device's addresses, if that is known. */
bool shim_channel_is_device_address(const struct shim_channel *channel, uint64_t address);

/* Writes out the text that has come while no thread waited. If the session has failed, waits a
 * moment for its last line. */
void shim_drain_text_locked(struct shim_channel *channel) REQUIRES(channel->receive_lock);

/* Whether the program has closed libzmq's descriptors; if so sets the fault, for libzmq would
 * abort at their next use. Costs a system call: calls that wait for a reply ask, launches do
 * not. */
bool shim_channel_unplugged(struct shim_channel *channel);

/* Looks for signs that the executor is gone, and if so sets the fault. True if it is set. */
bool shim_channel_lost(struct shim_channel *channel);

#endif
