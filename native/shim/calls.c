/* Calls and their replies: leader and followers. Of all threads that wait for a reply one, the
 * leader, looks after the replies socket and hands out what is not its own; the others sleep on a
 * word of their own calls. A thread alone is its own leader.
 *
 * A thread may leave its wait at any time and never come back: cancelled, or by a jump out of a
 * signal handler. So it waits in poll() or on a futex, outside of libzmq, without a lock, and what
 * is received for it goes to the heap. To be the leader is a hint only: who receives holds
 * receive_lock, and if a leader shows no sign of life, or is the very thread that asks, another one
 * looks after the socket. */
#include <errno.h>
#include <linux/futex.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "channel.h"
#include "shelter.h"
#include "tally/assert.h"
#include "texts.h"

_Thread_local int shim_cancel_outside __attribute__((tls_model("initial-exec"))) =
    PTHREAD_CANCEL_ENABLE;

#define DONE 1u
#define NEWS 2u
#define SILENT_MAX 3 /* how many times SHIM_WATCH_MS a leader may go without a beat */

/* All but `word` under call_lock, until it is done; then the waiting thread's. */
struct shim_pending {
    struct shim_pending *next;
    uint64_t id;
    _Atomic uint32_t word; /* futex: DONE, and a count of NEWS */
    bool abandoned;        /* nobody waits any more: to be freed when the reply comes */
    CUresult result;
    bool replied; /* `reply` is one */
    struct tally_zmq_message reply;
};

/* Until the word changes; false: not within SHIM_WATCH_MS. */
static bool futex_wait(_Atomic uint32_t *word, uint32_t value)
{
    struct timespec timeout = {.tv_nsec = SHIM_WATCH_MS * 1000000l};
    return syscall(SYS_futex, word, FUTEX_WAIT | FUTEX_PRIVATE_FLAG, value, &timeout, NULL, 0) ==
               0 ||
           errno != ETIMEDOUT;
}

static void wake(struct shim_pending *pending, uint32_t news)
{
    atomic_fetch_add(&pending->word, news);
    syscall(SYS_futex, &pending->word, FUTEX_WAKE | FUTEX_PRIVATE_FLAG, 1, NULL, NULL, 0);
}

static bool is_done(const struct shim_pending *pending)
{
    return atomic_load_explicit(&pending->word, memory_order_acquire) & DONE;
}

static void pending_free(struct shim_pending *pending)
{
    if (pending->replied)
        tally_zmq.msg_close(&pending->reply);
    free(pending);
}

/* ---- what is under way ---------------------------------------------------------------------- */

static struct shim_pending *unlink_call_locked(struct shim_channel *channel, uint64_t id)
    REQUIRES(channel->call_lock)
{
    for (struct shim_pending **at = &channel->pending; *at; at = &(*at)->next)
        if ((*at)->id == id) {
            struct shim_pending *found = *at;
            *at = found->next;
            return found;
        }
    return NULL;
}

static void complete(struct shim_pending *pending, CUresult result)
{
    TALLY_ASSERT(!is_done(pending));
    pending->result = result;
    if (pending->abandoned)
        pending_free(pending);
    else
        wake(pending, DONE);
}

static void fail_all_locked(struct shim_channel *channel) REQUIRES(channel->call_lock)
{
    uint32_t fault = atomic_load(&channel->fault);
    if (!fault)
        atomic_store(&channel->fault, fault = CUDA_ERROR_DEVICE_UNAVAILABLE);
    while (channel->pending) {
        struct shim_pending *pending = channel->pending;
        channel->pending = pending->next;
        complete(pending, (CUresult)fault);
    }
}

/* Handles one message that has come. True: the message is kept, and no longer the caller's. */
static bool dispatch_locked(struct shim_channel *channel, struct tally_zmq_message *message)
    REQUIRES(channel->call_lock)
{
    const uint8_t *data = tally_zmq.msg_data(message);
    size_t size = tally_zmq.msg_size(message);
    struct tally_reply reply;
    if (!tally_reply_read(data, size, &reply))
        return false;
    if (reply.kind != TALLY_REPLY_RESULT) {
        shim_text_add_locked(channel, reply.kind != TALLY_REPLY_STDOUT, data + sizeof reply,
                             size - sizeof reply);
        if (reply.kind == TALLY_REPLY_STDERR)
            channel->told = true;
        return false;
    }
    if (reply.async_error)
        atomic_store(&channel->async_error, (uint32_t)reply.async_error);
    struct shim_pending *pending = unlink_call_locked(channel, reply.call_id);
    if (!pending)
        return false;
    pending->reply = *message; /* zmq_msg_t moves by its bytes, as libzmq's own zmq_msg_move does */
    pending->replied = true;
    complete(pending, (CUresult)reply.result);
    return true;
}

/* ---- receiving, in a shelter ---------------------------------------------------------------- */

/* Receives until nothing is left, so that replies_fd tells of what comes next. Returns the errno
 * that ended it, EAGAIN where all is well. */
static int receive_all_locked(struct shim_channel *channel) REQUIRES(channel->receive_lock)
{
    for (;;) {
        struct tally_zmq_message message;
        tally_zmq.msg_init(&message);
        if (tally_zmq.msg_recv(&message, channel->replies, TALLY_ZMQ_DONTWAIT) < 0) {
            int error = tally_zmq.error();
            tally_zmq.msg_close(&message);
            if (error != EINTR)
                return error;
            continue;
        }
        shim_lock_take(&channel->call_lock);
        bool kept = dispatch_locked(channel, &message);
        shim_lock_give(&channel->call_lock);
        if (!kept)
            tally_zmq.msg_close(&message);
    }
}

static void receive(struct shim_channel *channel, bool silent)
{
    tally_mutex_take(&channel->receive_lock);
    bool lost = receive_all_locked(channel) != EAGAIN;
    tally_mutex_give(&channel->receive_lock);
    if (lost || (silent && shim_channel_lost(channel))) {
        shim_lock_take(&channel->call_lock);
        fail_all_locked(channel);
        shim_lock_give(&channel->call_lock);
    }
}

/* The others have to find a new leader. */
static void resign(struct shim_channel *channel)
{
    uintptr_t self = (uintptr_t)pthread_self();
    if (!atomic_compare_exchange_strong(&channel->leader, &self, 0))
        return;
    shim_lock_take(&channel->call_lock);
    for (struct shim_pending *pending = channel->pending; pending; pending = pending->next)
        wake(pending, NEWS);
    shim_lock_give(&channel->call_lock);
}

#define LAST_WORDS_MS 200

void shim_drain_text_locked(struct shim_channel *channel)
{
    bool failed = __atomic_load_n(&channel->page->sticky_error, __ATOMIC_ACQUIRE) != CUDA_SUCCESS;
    struct pollfd replies = {.fd = channel->replies_fd, .events = POLLIN};
    receive_all_locked(channel);
    for (int waited_ms = 0; failed && !channel->told && waited_ms < LAST_WORDS_MS;
         waited_ms += SHIM_ROOM_MS) {
        poll(&replies, 1, SHIM_ROOM_MS);
        receive_all_locked(channel);
    }
    shim_texts_write(channel);
}

/* ---- waiting -------------------------------------------------------------------------------- */

struct wait {
    struct shim_channel *channel;
    struct shim_pending *pending;
    uint32_t beat; /* of the leader, as seen last */
    int silent;    /* how often it was the same */
};

/* Whether this thread is the leader now. A thread that has left its wait by a jump is still the
 * leader. */
static bool lead(struct wait *wait)
{
    struct shim_channel *channel = wait->channel;
    uintptr_t self = (uintptr_t)pthread_self(), leader = 0;
    if (atomic_compare_exchange_strong(&channel->leader, &leader, self) || leader == self)
        return true;
    uint32_t beat = atomic_load(&channel->beat);
    wait->silent = beat == wait->beat ? wait->silent : 0;
    wait->beat = beat;
    return wait->silent >= SILENT_MAX &&
           atomic_compare_exchange_strong(&channel->leader, &leader, self);
}

/* Until something has come, or for SHIM_WATCH_MS. */
static void look_after(struct wait *wait)
{
    struct shim_channel *channel = wait->channel;
    struct pollfd replies = {.fd = channel->replies_fd, .events = POLLIN};
    struct shim_shelter shelter;
    atomic_fetch_add(&channel->beat, 1);
    int ready = poll(&replies, 1, SHIM_WATCH_MS);
    shim_shelter_enter(&shelter);
    receive(channel, ready <= 0);
    if (is_done(wait->pending))
        resign(channel);
    shim_shelter_leave(&shelter);
}

static void follow(struct wait *wait, uint32_t word)
{
    if (!futex_wait(&wait->pending->word, word))
        wait->silent++;
    pthread_testcancel();
}

/* The thread is cancelled: somebody else leads, and the reply is for nobody. */
static void abandon(void *argument)
{
    struct wait *wait = argument;
    struct shim_shelter shelter;
    shim_shelter_enter(&shelter);
    shim_lock_take(&wait->channel->call_lock);
    bool done = is_done(wait->pending);
    wait->pending->abandoned = true;
    shim_lock_give(&wait->channel->call_lock);
    if (done)
        pending_free(wait->pending);
    resign(wait->channel);
    shim_shelter_leave(&shelter);
}

static void wait_until_done(struct wait *wait)
{
    for (;;) {
        uint32_t word = atomic_load_explicit(&wait->pending->word, memory_order_acquire);
        if (word & DONE)
            return;
        if (lead(wait))
            look_after(wait);
        else
            follow(wait, word);
    }
}

static void wait_leavable(struct wait *wait)
{
    int ignored;
    pthread_cleanup_push(abandon, wait);
    pthread_setcancelstate(shim_cancel_outside, &ignored);
    wait_until_done(wait);
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &ignored);
    pthread_cleanup_pop(0);
}

/* ---- calls ---------------------------------------------------------------------------------- */

CUresult shim_call_begin(struct shim_channel *channel, struct shim_call *call, void *op,
                         size_t op_bytes, const void *tail, size_t tail_bytes)
{
    CUresult result = shim_channel_check(channel);
    if (!result && shim_channel_unplugged(channel))
        result = CUDA_ERROR_OPERATING_SYSTEM;
    if (result)
        return result;
    struct shim_pending *pending = calloc(1, sizeof *pending);
    if (!pending)
        return CUDA_ERROR_OUT_OF_MEMORY;
    pending->id = 1 + atomic_fetch_add_explicit(&channel->next_call, 1, memory_order_relaxed);
    call->pending = pending;
    ((struct tally_op *)op)->call_id = pending->id;
    /* Before sending: another thread may lead and must find it. */
    shim_lock_take(&channel->call_lock);
    pending->next = channel->pending;
    channel->pending = pending;
    shim_lock_give(&channel->call_lock);
    result = shim_channel_transmit(channel, op, op_bytes, tail, tail_bytes);
    if (result) {
        shim_lock_take(&channel->call_lock);
        unlink_call_locked(channel, pending->id);
        shim_lock_give(&channel->call_lock);
        pending_free(pending);
    }
    return result;
}

/* The caller's from the message. */
static void fill(struct shim_call *call, struct shim_pending *pending)
{
    const uint8_t *data = pending->replied ? tally_zmq.msg_data(&pending->reply) : NULL;
    size_t size = pending->replied ? tally_zmq.msg_size(&pending->reply) : 0;
    size_t head = size < call->reply_bytes ? size : call->reply_bytes;
    if (head)
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

CUresult shim_call_end(struct shim_channel *channel, struct shim_call *call)
{
    struct wait wait = {.channel = channel, .pending = call->pending};
    if (call->leavable)
        wait_leavable(&wait);
    else
        wait_until_done(&wait);
    TALLY_ASSERT(is_done(wait.pending) && !wait.pending->abandoned);
    CUresult result = wait.pending->result;
    fill(call, wait.pending);
    pending_free(wait.pending);
    shim_texts_write(channel);
    return result;
}

CUresult shim_call(struct shim_channel *channel, void *op, size_t op_bytes, const void *tail,
                   size_t tail_bytes, void *reply, size_t reply_bytes)
{
    struct shim_call call = {.reply = reply, .reply_bytes = reply_bytes};
    CUresult result = shim_call_begin(channel, &call, op, op_bytes, tail, tail_bytes);
    return result ? result : shim_call_end(channel, &call);
}

CUresult shim_call_sync(struct shim_channel *channel, void *op, size_t op_bytes, void *reply,
                        size_t reply_bytes)
{
    struct shim_call call = {.reply = reply, .reply_bytes = reply_bytes, .leavable = true};
    CUresult result = shim_call_begin(channel, &call, op, op_bytes, NULL, 0);
    if (!result)
        result = shim_call_end(channel, &call);
    CUresult earlier = shim_take_async_error(channel);
    return earlier ? earlier : result;
}
