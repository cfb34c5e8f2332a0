/* What goes back to the client: results, errors of one-way ops, device printf. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "engine/launch/schedule.h"
#include "engine/memory/guard.h"

/* A client that does not read its replies for so long is not served any further. */
#define REPLY_WAIT_MS 100
#define REPLY_WAITS_MAX 30
#define OUTPUT_CHUNK_BYTES (64u * 1024u)

bool replies_open(struct session *session)
{
    struct replies *replies = &session->replies;
    return tally_zmq_set(replies->socket, TALLY_ZMQ_SNDTIMEO, REPLY_WAIT_MS) == 0;
}

void replies_close(struct session *session)
{
    struct replies *replies = &session->replies;
    if (replies->socket)
        tally_zmq.close(replies->socket);
    free(replies->output[0]);
    free(replies->output[1]);
    pthread_mutex_destroy(&replies->lock);
    pthread_mutex_destroy(&replies->output_lock);
}

/* Under replies.lock. */
static void send_reply(struct session *session, const void *head, size_t head_bytes, const void *tail,
                       size_t tail_bytes)
{
    for (int i = 0; i < REPLY_WAITS_MAX && !session->ending; i++) {
        if (tally_message_send(session->replies.socket, head, head_bytes, tail, tail_bytes, 0) == 0)
            return;
        if (tally_zmq.error() != EAGAIN && tally_zmq.error() != EINTR)
            break;
    }
    session_end(session, "the client does not take its replies");
}

/* What the device printed since the last time; the caller frees it. */
static char *take_output(struct replies *replies, int i, size_t *bytes)
{
    pthread_mutex_lock(&replies->output_lock);
    char *text = replies->output[i];
    *bytes = replies->output_bytes[i];
    replies->output[i] = NULL;
    replies->output_bytes[i] = 0;
    pthread_mutex_unlock(&replies->output_lock);
    return text;
}

/* Under replies.lock. Output goes ahead of the reply that lets the program go on, as with CUDA, whose
 * printf buffer is flushed by waiting calls. */
static void flush_output(struct session *session)
{
    session->replies.output_waiting = false;
    for (int i = 0; i < 2; i++) {
        size_t bytes;
        char *text = take_output(&session->replies, i, &bytes);
        for (size_t at = 0; at < bytes; at += OUTPUT_CHUNK_BYTES) {
            size_t chunk = bytes - at < OUTPUT_CHUNK_BYTES ? bytes - at : OUTPUT_CHUNK_BYTES;
            struct tally_reply head = {
                .kind = i == 0 ? TALLY_REPLY_STDOUT : TALLY_REPLY_STDERR,
                .bytes = (uint32_t)(sizeof head + chunk),
            };
            send_reply(session, &head, sizeof head, text + at, chunk);
        }
        free(text);
    }
}

/* From the device's worker threads, which must never wait for a client: nothing is sent here. */
void session_output(struct session *session, int fd, const char *text, size_t bytes)
{
    struct replies *replies = &session->replies;
    int i = fd == 2 ? 1 : 0;
    pthread_mutex_lock(&replies->output_lock);
    if (!replies->output[i])
        replies->output[i] = malloc(OUTPUT_BYTES_MAX);
    size_t room = replies->output[i] ? OUTPUT_BYTES_MAX - replies->output_bytes[i] : 0;
    size_t kept = bytes < room ? bytes : room;
    if (kept) {
        memcpy(replies->output[i] + replies->output_bytes[i], text, kept);
        replies->output_bytes[i] += kept;
        replies->output_waiting = true;
    }
    pthread_mutex_unlock(&replies->output_lock);
    if (kept < bytes)
        tally_stats_add(&session->stats, TALLY_COUNT_OUTPUT_LOST_BYTES, bytes - kept);
}

/* The program knows its kernel by the name without what rewriting appends. */
static void cut_suffix(char *text, const char *suffix)
{
    char *at = strstr(text, suffix);
    if (at)
        memmove(at, at + strlen(suffix), strlen(at + strlen(suffix)) + 1);
}

/* softgpu knows which kernel it was. A GPU does not say. */
static void explain_fault(struct session *session, CUresult result, char text[TALLY_REASON_BYTES])
{
    text[0] = 0;
    if (session->tenant_made)
        session->driver->soft.tenant_fault(session->tenant, text, TALLY_REASON_BYTES);
    cut_suffix(text, TALLY_GUARDED_SUFFIX);
    cut_suffix(text, TALLY_SUBGRID_SUFFIX);
    if (!text[0])
        driver_error_text(session->driver, result, text, TALLY_REASON_BYTES);
}

void session_flush(struct session *session)
{
    struct replies *replies = &session->replies;
    if (!replies->output_waiting)
        return;
    pthread_mutex_lock(&replies->lock);
    flush_output(session);
    pthread_mutex_unlock(&replies->lock);
}

void session_note(struct session *session, CUresult result)
{
    if (!driver_error_is_sticky(result) || session->ending)
        return;
    int well = CUDA_SUCCESS;
    if (!atomic_compare_exchange_strong(&session->sticky, &well, (int)result))
        return;
    char text[TALLY_REASON_BYTES];
    explain_fault(session, result, text);
    __atomic_store_n(&session->stats.sticky_error, (int32_t)result, __ATOMIC_RELAXED);
    session_tell(session, "%s", text); /* ahead of the word: who sees that finds the line soon */
    shared_store(session, &session->segment.page->sticky_error, (uint32_t)result);
    schedule_session_failed(session, result);
    engine_fault(session, result, text);
}

void session_reply(struct session *session, const struct tally_op *op, CUresult result, void *head, size_t head_bytes,
                   const void *tail, size_t tail_bytes)
{
    struct replies *replies = &session->replies;
    struct tally_reply reply = {
        .code = op->code,
        .kind = TALLY_REPLY_RESULT,
        .bytes = (uint32_t)(head_bytes + tail_bytes),
        .call_id = op->call_id,
        .result = (int32_t)result,
    };
    pthread_mutex_lock(&replies->lock);
    if (replies->output_waiting)
        flush_output(session);
    reply.async_error = (int32_t)replies->async_error;
    replies->async_error = CUDA_SUCCESS;
    memcpy(head, &reply, sizeof reply);
    send_reply(session, head, head_bytes, tail, tail_bytes);
    pthread_mutex_unlock(&replies->lock);
}

void session_finish(struct session *session, const struct tally_op *op, CUresult result)
{
    if (result != CUDA_SUCCESS && result != CUDA_ERROR_NOT_READY) {
        tally_stats_add(&session->stats, TALLY_COUNT_ERRORS, 1);
        if (result == CUDA_ERROR_NOT_SUPPORTED)
            tally_stats_add(&session->stats, TALLY_COUNT_UNSUPPORTED, 1);
        session_note(session, result);
    }
    if (op->call_id) {
        struct tally_reply head;
        session_reply(session, op, result, &head, sizeof head, NULL, 0);
    } else if (result != CUDA_SUCCESS && !driver_error_is_sticky(result)) {
        pthread_mutex_lock(&session->replies.lock);
        if (session->replies.async_error == CUDA_SUCCESS)
            session->replies.async_error = result;
        pthread_mutex_unlock(&session->replies.lock);
    }
}
