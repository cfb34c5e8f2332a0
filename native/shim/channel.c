#include "channel.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "tally/assert.h"
#include "tell.h"

int shim_channel_device(const struct shim_channel *channel) { return channel->device; }

const struct tally_device_info *shim_channel_info(const struct shim_channel *channel)
{
    return channel->info;
}

bool shim_channel_is_device_address(const struct shim_channel *channel, uint64_t address)
{
    return address - channel->region_base < channel->region_bytes;
}

static SHIM_RARE void set_fault(struct shim_channel *channel, CUresult fault)
{
    uint32_t none = 0;
    atomic_compare_exchange_strong(&channel->fault, &none, (uint32_t)fault);
}

CUresult shim_channel_check(struct shim_channel *channel)
{
    if (channel->generation != shim_generation())
        return CUDA_ERROR_NOT_INITIALIZED;
    uint32_t fault = atomic_load_explicit(&channel->fault, memory_order_relaxed);
    if (fault)
        return (CUresult)fault;
    return (CUresult)__atomic_load_n(&channel->page->sticky_error, __ATOMIC_ACQUIRE);
}

CUresult shim_take_async_error(struct shim_channel *channel)
{
    if (!atomic_load_explicit(&channel->async_error, memory_order_relaxed))
        return CUDA_SUCCESS;
    return (CUresult)atomic_exchange(&channel->async_error, 0);
}

static void tell_loss(const struct shim_channel *channel, bool closed)
{
    if (atomic_load(&channel->fault) == CUDA_ERROR_DEINITIALIZED)
        return; /* this process is leaving */
    char reason[TALLY_END_REASON_BYTES];
    memcpy(reason, channel->page->reason, sizeof reason);
    reason[sizeof reason - 1] = 0;
    if (closed)
        shim_tell("the session on device %d has ended: %s", channel->device, reason);
    else
        shim_tell("the executor of device %d has ended, and this program's session with it; "
                  "tallyd's log says why. "
                  "Start the program again",
                  channel->device);
}

/* Looks for signs that the executor is gone; true if it is. */
static bool look_for_loss(struct shim_channel *channel, bool *closed)
{
    *closed = __atomic_load_n(&channel->page->closed, __ATOMIC_ACQUIRE);
    if (atomic_load(&channel->fault))
        return true;
    if (tally_mutex_try(&channel->monitor_lock)) {
        uint8_t event[8];
        int size;
        while ((size = tally_zmq.recv(channel->monitor, event, sizeof event, TALLY_ZMQ_DONTWAIT)) >=
               0) {
            uint16_t kind = 0;
            if (size >= 2)
                memcpy(&kind, event, sizeof kind);
            char address[512];
            tally_zmq.recv(channel->monitor, address, sizeof address, TALLY_ZMQ_DONTWAIT);
            if (kind == TALLY_ZMQ_EVENT_DISCONNECTED)
                set_fault(channel, CUDA_ERROR_DEVICE_UNAVAILABLE);
        }
        tally_mutex_give(&channel->monitor_lock);
    }
    *closed = __atomic_load_n(&channel->page->closed, __ATOMIC_ACQUIRE);
    if (*closed) {
        uint32_t sticky = __atomic_load_n(&channel->page->sticky_error, __ATOMIC_ACQUIRE);
        set_fault(channel, sticky ? (CUresult)sticky : CUDA_ERROR_DEVICE_UNAVAILABLE);
    }
    return atomic_load(&channel->fault) != 0;
}

SHIM_RARE bool shim_channel_lost(struct shim_channel *channel)
{
    bool closed, lost = look_for_loss(channel, &closed);
    if (lost)
        tell_loss(channel, closed);
    return lost;
}

bool shim_channel_unplugged(struct shim_channel *channel)
{
    if (fcntl(channel->replies_fd, F_GETFD) >= 0)
        return false;
    if (!atomic_load(&channel->fault))
        shim_tell("this program has closed the descriptors that Tally uses on device %d: its "
                  "session is lost",
                  channel->device);
    set_fault(channel, CUDA_ERROR_OPERATING_SYSTEM);
    return true;
}

/* ---- sending -------------------------------------------------------------------------------- */

/* 0, or the errno that keeps the message from the queue. */
static inline int try_send(struct shim_channel *channel, struct tally_zmq_message *message)
{
    shim_lock_take(&channel->send_lock);
    int error =
        tally_zmq.msg_send(message, channel->ops, TALLY_ZMQ_DONTWAIT) >= 0 ? 0 : tally_zmq.error();
    shim_lock_give(&channel->send_lock);
    return error;
}

/* The queue is full: flow control, unless the executor is gone. A thread waits outside of libzmq
 * and without a lock, so that a signal handler may jump out of the wait. It looks again soon,
 * because another thread may have consumed the sign that there is room. */
static SHIM_RARE void wait_for_room(struct shim_channel *channel, int *waited_ms)
{
    struct pollfd room = {.fd = channel->ops_fd, .events = POLLIN};
    if (poll(&room, 1, SHIM_ROOM_MS) == 0 && (*waited_ms += SHIM_ROOM_MS) >= SHIM_WATCH_MS) {
        *waited_ms = 0;
        shim_channel_lost(channel);
    }
}

CUresult shim_channel_post(struct shim_channel *channel, struct tally_zmq_message *message)
{
    CUresult result = CUDA_SUCCESS;
    int waited_ms = 0;
    while (!(result = (CUresult)atomic_load_explicit(&channel->fault, memory_order_relaxed))) {
        int error = try_send(channel, message);
        if (!error)
            return CUDA_SUCCESS;
        if (error == EAGAIN)
            wait_for_room(channel, &waited_ms);
        else if (error != EINTR)
            set_fault(channel, CUDA_ERROR_DEVICE_UNAVAILABLE);
    }
    tally_zmq.msg_close(message);
    return result;
}

CUresult shim_channel_transmit(struct shim_channel *channel, struct tally_op *op, size_t op_bytes,
                               const void *tail, size_t tail_bytes)
{
    if (op_bytes + tail_bytes > TALLY_MESSAGE_BYTES_MAX)
        return CUDA_ERROR_INVALID_VALUE;
    TALLY_ASSERT(op_bytes >= sizeof *op && op->code);
    op->flags = 0;
    op->bytes = (uint32_t)(op_bytes + tail_bytes);
    struct tally_zmq_message message;
    if (tally_message_build(&message, op, op_bytes, tail, tail_bytes) != 0)
        return CUDA_ERROR_OUT_OF_MEMORY;
    return shim_channel_post(channel, &message);
}

CUresult shim_send(struct shim_channel *channel, void *op, size_t op_bytes, const void *tail,
                   size_t tail_bytes)
{
    CUresult result = shim_channel_check(channel);
    return result ? result : shim_channel_transmit(channel, op, op_bytes, tail, tail_bytes);
}

/* ---- opening and closing -------------------------------------------------------------------- */

/* Unchecked is what makes and frees a channel that no other thread has. */

/* Maps the segment, which lives as long as one of the two processes maps it. */
static CUresult map_segment(struct shim_channel *channel, const struct tally_open_reply *open_reply)
{
    uint64_t slots = (uint64_t)open_reply->slot_count * open_reply->slot_bytes;
    if (!open_reply->slot_count || open_reply->slot_count > TALLY_SLOTS_MAX ||
        !open_reply->slot_bytes ||
        open_reply->segment_bytes < sizeof(struct tally_session_page) + slots)
        return CUDA_ERROR_OPERATING_SYSTEM;
    int fd = shim_handover_take(&channel->handover, 0, open_reply->segment_bytes);
    if (fd < 0)
        return CUDA_ERROR_OPERATING_SYSTEM;
    void *at = mmap(NULL, open_reply->segment_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    if (at == MAP_FAILED)
        return CUDA_ERROR_OPERATING_SYSTEM;
    channel->page = at;
    channel->segment_bytes = open_reply->segment_bytes;
    channel->slots = (uint8_t *)at + sizeof(struct tally_session_page);
    channel->slot_count = open_reply->slot_count;
    channel->slot_bytes = open_reply->slot_bytes;
    bool known = channel->page->magic == TALLY_PAGE_MAGIC &&
                 channel->page->version == TALLY_PROTOCOL_VERSION;
    return known ? CUDA_SUCCESS : CUDA_ERROR_SYSTEM_DRIVER_MISMATCH;
}

/* What poll() can look at in the socket's stead. */
static bool find_fd(void *socket, int *fd)
{
    size_t bytes = sizeof *fd;
    return tally_zmq.getsockopt(socket, TALLY_ZMQ_FD, fd, &bytes) == 0;
}

/* The path of a socket that the reply to OPEN names. A missing one is an error at once: libzmq
 * would go on trying to connect, and a call would wait for ever. */
static bool find_socket(const char *folder, const char *name, char path[SHIM_SOCKET_PATH_BYTES])
{
    struct stat status;
    int length = snprintf(path, SHIM_SOCKET_PATH_BYTES, "%s/%s", folder, name);
    return length < SHIM_SOCKET_PATH_BYTES && *name && !strchr(name, '/') &&
           stat(path, &status) == 0 && S_ISSOCK(status.st_mode);
}

static bool open_replies(struct shim_channel *channel, void *zmq, const char *path) LOCKS_UNCHECKED
{
    char endpoint[SHIM_SOCKET_PATH_BYTES + 8];
    snprintf(endpoint, sizeof endpoint, "ipc://%s", path);
    channel->replies = tally_zmq.socket(zmq, TALLY_ZMQ_PULL);
    channel->monitor = tally_zmq.socket(zmq, TALLY_ZMQ_PAIR);
    if (!channel->replies || !channel->monitor)
        return false;
    tally_zmq_set(channel->replies, TALLY_ZMQ_LINGER, 0);
    tally_zmq_set(channel->monitor, TALLY_ZMQ_LINGER, 0);
    char name[64];
    snprintf(name, sizeof name, "inproc://tally-monitor-%d", channel->device);
    return tally_zmq.socket_monitor(channel->replies, name, TALLY_ZMQ_EVENT_DISCONNECTED) == 0 &&
           tally_zmq.connect(channel->monitor, name) == 0 &&
           tally_zmq.connect(channel->replies, endpoint) == 0 &&
           find_fd(channel->replies, &channel->replies_fd);
}

static bool open_ops(struct shim_channel *channel, void *zmq, const char *path)
{
    char endpoint[SHIM_SOCKET_PATH_BYTES + 8];
    snprintf(endpoint, sizeof endpoint, "ipc://%s", path);
    channel->ops = tally_zmq.socket(zmq, TALLY_ZMQ_PUSH);
    if (!channel->ops)
        return false;
    tally_zmq_set(channel->ops, TALLY_ZMQ_LINGER, SHIM_LINGER_MS);
    tally_zmq_set(channel->ops, TALLY_ZMQ_SNDHWM, SHIM_OPS_QUEUED_MAX);
    return tally_zmq.connect(channel->ops, endpoint) == 0 &&
           find_fd(channel->ops, &channel->ops_fd);
}

static void release(struct shim_channel *channel) LOCKS_UNCHECKED
{
    if (channel->ops)
        tally_zmq.close(channel->ops);
    if (channel->replies) {
        tally_zmq.socket_monitor(channel->replies, NULL, 0);
        tally_zmq.close(channel->replies);
    }
    if (channel->monitor)
        tally_zmq.close(channel->monitor);
    if (channel->page)
        munmap(channel->page, channel->segment_bytes);
    shim_handover_close(&channel->handover);
    free(channel);
}

int shim_channel_memory(struct shim_channel *channel, uint64_t number, uint64_t bytes)
{
    return shim_handover_take(&channel->handover, number, bytes);
}

static CUresult connect_to(struct shim_channel *channel, void *zmq, const char *folder,
                           const struct tally_open_reply *open_reply)
{
    char ops[SHIM_SOCKET_PATH_BYTES], replies[SHIM_SOCKET_PATH_BYTES],
        memory[SHIM_SOCKET_PATH_BYTES];
    channel->handover.socket = -1;
    if (!find_socket(folder, open_reply->ops, ops) ||
        !find_socket(folder, open_reply->replies, replies) ||
        !find_socket(folder, open_reply->segment, memory) ||
        shim_handover_connect(&channel->handover, memory) != 0) {
        shim_tell("device %d: its sockets in %s cannot be reached: %s", channel->device, folder,
                  strerror(errno));
        return CUDA_ERROR_OPERATING_SYSTEM;
    }
    CUresult result = map_segment(channel, open_reply);
    if (!result && (!open_replies(channel, zmq, replies) || !open_ops(channel, zmq, ops)))
        result = CUDA_ERROR_OPERATING_SYSTEM;
    return result;
}

CUresult shim_channel_create(void *zmq, int device, uint32_t generation, const char *folder,
                             const struct tally_open_reply *open_reply,
                             struct shim_channel **out) LOCKS_UNCHECKED
{
    *out = NULL;
    struct shim_channel *channel = calloc(1, sizeof *channel);
    if (!channel)
        return CUDA_ERROR_OUT_OF_MEMORY;
    channel->device = device;
    channel->info = shim_device(device);
    channel->generation = generation;
    channel->region_base = open_reply->device_region_base;
    channel->region_bytes = open_reply->device_region_base ? open_reply->device_region_bytes : 0;
    channel->last_text = &channel->texts;
    tally_mutex_init(&channel->receive_lock);
    tally_mutex_init(&channel->monitor_lock);
    tally_mutex_init(&channel->slot_lock);
    pthread_cond_init(&channel->slot_wake, NULL);
    CUresult result = connect_to(channel, zmq, folder, open_reply);
    if (result)
        release(channel);
    else
        *out = channel;
    return result;
}

/* Exit must not hang on a thread that is stuck in a call; such a thread keeps its socket. */
#define EXIT_WAIT_MS 50

static bool lock_soon(struct tally_mutex *mutex) ACQUIRES_IF(true, *mutex) LOCKS_UNCHECKED
{
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_nsec += EXIT_WAIT_MS * 1000000;
    if (until.tv_nsec >= 1000000000)
        until.tv_sec++, until.tv_nsec -= 1000000000;
    return pthread_mutex_timedlock(&mutex->pthread, &until) == 0;
}

/* Unchecked: receive_lock and monitor_lock stay taken where the sockets are gone. */
bool shim_channel_close(struct shim_channel *channel) LOCKS_UNCHECKED
{
    if (shim_channel_unplugged(channel))
        return false;
    bool closed,
        lost = look_for_loss(channel, &closed); /* a program that leaves does not mind any more */
    atomic_store(&channel->fault, CUDA_ERROR_DEINITIALIZED);
    bool all = false;
    if (shim_lock_soon(&channel->send_lock, EXIT_WAIT_MS)) {
        struct tally_op bye = {.code = TALLY_OP_BYE, .bytes = sizeof bye};
        if (!lost)
            tally_message_send(channel->ops, &bye, sizeof bye, NULL, 0, TALLY_ZMQ_DONTWAIT);
        tally_zmq.close(channel->ops);
        channel->ops = NULL;
        all = true;
        shim_lock_give(&channel->send_lock);
    }
    uintptr_t leader = atomic_load(&channel->leader);
    if ((!leader || leader == (uintptr_t)pthread_self()) && lock_soon(&channel->receive_lock)) {
        shim_drain_text_locked(channel);
        /* Else libzmq's I/O thread would wait for ever to tell a closed monitor of the
         * disconnection. */
        tally_zmq.socket_monitor(channel->replies, NULL, 0);
        tally_zmq.close(channel->replies);
        tally_mutex_take(&channel->monitor_lock);
        tally_zmq.close(channel->monitor);
        return all;
    }
    return false;
}
