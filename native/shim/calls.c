/* Calls and their replies: leader and followers. Of all threads that wait for a reply, one (the leader)
 * receives, and hands out what is not its own. A thread alone is its own leader, so that the common case
 * costs two uncontended locks more than a bare receive. */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <unistd.h>

#include "channel.h"

/* Device printf goes where the program's own output goes. A program that closed it loses the text. */
static void write_all(int fd, const uint8_t *text, size_t bytes)
{
    while (bytes) {
        ssize_t wrote = write(fd, text, bytes);
        if (wrote > 0) {
            text += wrote;
            bytes -= (size_t)wrote;
        } else if (wrote < 0 && errno == EAGAIN) {
            struct pollfd wait = {.fd = fd, .events = POLLOUT};
            poll(&wait, 1, SHIM_WATCH_MS);
        } else if (wrote == 0 || errno != EINTR) {
            return;
        }
    }
}

static void write_text(struct shim_channel *channel, const struct tally_reply *reply, const uint8_t *text, size_t bytes)
{
    write_all(reply->kind == TALLY_REPLY_STDOUT ? STDOUT_FILENO : STDERR_FILENO, text, bytes);
    channel->told |= reply->kind == TALLY_REPLY_STDERR;
}

static void complete(struct shim_call *call, CUresult result)
{
    call->result = result;
    call->done = true;
}

static void fill(struct shim_call *call, const uint8_t *data, size_t size)
{
    size_t head = size < call->reply_bytes ? size : call->reply_bytes;
    memcpy(call->reply, data, head);
    memset((uint8_t *)call->reply + head, 0, call->reply_bytes - head);
    if (!call->keep_tail || size <= call->reply_bytes)
        return;
    call->tail = malloc(size - head);
    if (call->tail) {
        call->tail_bytes = size - head;
        memcpy(call->tail, data + head, call->tail_bytes);
    }
}

/* Takes the pending call with this id off the list. Under call_lock. */
static struct shim_call *unlink_call(struct shim_channel *channel, uint64_t id)
{
    for (struct shim_call **at = &channel->pending; *at; at = &(*at)->next)
        if ((*at)->id == id) {
            struct shim_call *call = *at;
            *at = call->next;
            return call;
        }
    return NULL;
}

/* One received message: text goes out, a reply completes its call. Takes call_lock and keeps it. */
static void dispatch(struct shim_channel *channel, const uint8_t *data, size_t size)
{
    struct tally_reply reply;
    bool good = tally_reply_read(data, size, &reply);
    if (good && reply.kind != TALLY_REPLY_RESULT)
        write_text(channel, &reply, data + sizeof reply, size - sizeof reply);
    pthread_mutex_lock(&channel->call_lock);
    if (!good || reply.kind != TALLY_REPLY_RESULT)
        return;
    if (reply.async_error)
        atomic_store(&channel->async_error, (uint32_t)reply.async_error);
    struct shim_call *call = unlink_call(channel, reply.call_id);
    if (call) {
        fill(call, data, size);
        complete(call, (CUresult)reply.result);
    }
}

#define LAST_WORDS_MS 200

void shim_drain_text(struct shim_channel *channel)
{
    bool failed = __atomic_load_n(&channel->page->sticky_error, __ATOMIC_ACQUIRE) != CUDA_SUCCESS;
    tally_zmq_set(channel->replies, TALLY_ZMQ_RCVTIMEO, failed && !channel->told ? LAST_WORDS_MS : 0);
    struct tally_zmq_message message;
    tally_zmq.msg_init(&message);
    while (tally_zmq.msg_recv(&message, channel->replies, 0) >= 0) {
        struct tally_reply reply;
        const uint8_t *data = tally_zmq.msg_data(&message);
        size_t size = tally_zmq.msg_size(&message);
        if (tally_reply_read(data, size, &reply) && reply.kind != TALLY_REPLY_RESULT)
            write_text(channel, &reply, data + sizeof reply, size - sizeof reply);
        tally_zmq_set(channel->replies, TALLY_ZMQ_RCVTIMEO, 0);
    }
    tally_zmq.msg_close(&message);
}

/* Receives once. Returns with call_lock held. */
static void lead(struct shim_channel *channel)
{
    struct tally_zmq_message message;
    tally_zmq.msg_init(&message);
    if (tally_zmq.msg_recv(&message, channel->replies, 0) >= 0) {
        dispatch(channel, tally_zmq.msg_data(&message), tally_zmq.msg_size(&message));
    } else {
        int error = tally_zmq.error();
        bool lost = (error != EAGAIN && error != EINTR) || shim_channel_lost(channel);
        pthread_mutex_lock(&channel->call_lock);
        if (lost) {
            uint32_t fault = atomic_load(&channel->fault);
            if (!fault)
                atomic_store(&channel->fault, fault = CUDA_ERROR_DEVICE_UNAVAILABLE);
            while (channel->pending) {
                struct shim_call *call = channel->pending;
                channel->pending = call->next;
                complete(call, (CUresult)fault);
            }
        }
    }
    tally_zmq.msg_close(&message);
}

CUresult shim_call_begin(struct shim_channel *channel, struct shim_call *call, void *op, size_t op_bytes,
                         const void *tail, size_t tail_bytes)
{
    CUresult result = shim_channel_check(channel);
    if (result)
        return result;
    call->id = 1 + atomic_fetch_add_explicit(&channel->next_call, 1, memory_order_relaxed);
    call->done = false;
    ((struct tally_op *)op)->call_id = call->id;
    /* Before sending: another thread may lead and must find it. */
    pthread_mutex_lock(&channel->call_lock);
    call->next = channel->pending;
    channel->pending = call;
    pthread_mutex_unlock(&channel->call_lock);
    result = shim_channel_transmit(channel, op, op_bytes, tail, tail_bytes);
    if (result) {
        pthread_mutex_lock(&channel->call_lock);
        unlink_call(channel, call->id);
        pthread_mutex_unlock(&channel->call_lock);
    }
    return result;
}

CUresult shim_call_end(struct shim_channel *channel, struct shim_call *call)
{
    pthread_mutex_lock(&channel->call_lock);
    bool leading = false;
    while (!call->done) {
        if (!leading && channel->led) {
            pthread_cond_wait(&channel->call_wake, &channel->call_lock);
            continue;
        }
        channel->led = leading = true;
        pthread_mutex_unlock(&channel->call_lock);
        lead(channel);
        if (channel->pending || !call->done) /* a follower's reply may have come */
            pthread_cond_broadcast(&channel->call_wake);
    }
    if (leading) {
        channel->led = false;
        pthread_cond_broadcast(&channel->call_wake); /* the next one leads */
    }
    pthread_mutex_unlock(&channel->call_lock);
    return call->result;
}

CUresult shim_call(struct shim_channel *channel, void *op, size_t op_bytes, const void *tail, size_t tail_bytes,
                   void *reply, size_t reply_bytes)
{
    struct shim_call call = {.reply = reply, .reply_bytes = reply_bytes};
    CUresult result = shim_call_begin(channel, &call, op, op_bytes, tail, tail_bytes);
    return result ? result : shim_call_end(channel, &call);
}

CUresult shim_call_sync(struct shim_channel *channel, void *op, size_t op_bytes, void *reply, size_t reply_bytes)
{
    CUresult result = shim_call(channel, op, op_bytes, NULL, 0, reply, reply_bytes);
    CUresult earlier = shim_take_async_error(channel);
    return earlier ? earlier : result;
}
