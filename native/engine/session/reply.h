/* What goes back to the client: results, errors of one-way ops, device printf. */
#ifndef TALLY_ENGINE_REPLY_H
#define TALLY_ENGINE_REPLY_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

#include "tally/cuda.h"
#include "tally/protocol.h"

struct session;

struct replies {
    pthread_mutex_t lock;
    void *socket;
    CUresult async_error;
    pthread_mutex_t output_lock;
    char *output[2]; /* fd 1 and 2; OUTPUT_BYTES_MAX each, allocated when first used */
    size_t output_bytes[2];
    _Atomic bool output_waiting;
};

void replies_init(struct session *session);
bool replies_open(struct session *session);
void replies_close(struct session *session);
/* `head` starts with a tally_reply that is filled in here. */
void session_reply(struct session *session, const struct tally_op *op, CUresult result, void *head,
                   size_t head_bytes, const void *tail, size_t tail_bytes);
/* The op is done: answers a call, remembers a one-way op's error. */
void session_finish(struct session *session, const struct tally_op *op, CUresult result);
/* Sends what was printed and not yet sent. The session's thread. */
void session_flush(struct session *session);

#endif
