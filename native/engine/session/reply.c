#include "engine/session/reply.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "engine/device/driver.h"
#include "engine/session/ending.h"
#include "engine/session/fault.h"
#include "engine/session/output.h"
#include "engine/session/session.h"
#include "wire/message.h"
#include "wire/zmq.h"

/* A client that does not read its replies for so long is not served any further. */
#define REPLY_WAIT_MS 100
#define REPLY_WAITS_MAX 30
#define OUTPUT_CHUNK_BYTES (64u * 1024u)

void replies_init(struct session *session)
{
    pthread_mutex_init(&session->replies.lock, NULL);
    pthread_mutex_init(&session->replies.output_lock, NULL);
}

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
static void send_reply(struct session *session, const void *head, size_t head_bytes,
                       const void *tail, size_t tail_bytes)
{
    for (int i = 0; i < REPLY_WAITS_MAX && !session->ending; i++) {
        if (tally_message_send(session->replies.socket, head, head_bytes, tail, tail_bytes, 0) == 0)
            return;
        if (tally_zmq.error() != EAGAIN && tally_zmq.error() != EINTR)
            break;
    }
    session_end(session, "the client does not take its replies");
}

/* Under replies.lock. Output goes ahead of the reply that lets the program go on, as with CUDA,
 * whose printf buffer is flushed by waiting calls. */
static void flush_output(struct session *session)
{
    session->replies.output_waiting = false;
    for (int i = 0; i < 2; i++) {
        size_t bytes;
        char *text = output_take(&session->replies, i, &bytes);
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

void session_flush(struct session *session)
{
    struct replies *replies = &session->replies;
    if (!replies->output_waiting)
        return;
    pthread_mutex_lock(&replies->lock);
    flush_output(session);
    pthread_mutex_unlock(&replies->lock);
}

void session_reply(struct session *session, const struct tally_op *op, CUresult result, void *head,
                   size_t head_bytes, const void *tail, size_t tail_bytes)
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
