/* The one door for work in a stream. Whatever a stream is given to do goes through
 * shim_stream_submit: copies, memsets, launches, events, values, and waits for its end. What has to
 * see all work of a stream asks there. Not work, and sent by shim_send and shim_call: ops that
 * make, destroy or describe objects. */
#ifndef TALLY_SHIM_STREAM_WORK_H
#define TALLY_SHIM_STREAM_WORK_H

#include "streams.h"

struct tally_zmq_message;

/* One piece of work: an op and the bytes that follow it, or both in a message that is built
 * already. */
struct shim_work {
    void *op; /* starts with struct tally_op; the caller has set its code and its stream */
    size_t op_bytes;
    const void *tail;
    size_t tail_bytes;
    struct tally_zmq_message *message; /* in place of the four above; taken over, also on failure */
    struct shim_call *call; /* NULL: one-way. Else begun: shim_call_end waits for the reply */
};

#define SHIM_WORK(o) .op = &(o), .op_bytes = sizeof(o)

/* Gives the stream its next piece of work. Program order is the order of these calls. */
CUresult shim_stream_submit(const struct shim_stream_ref *ref, const struct shim_work *work);

/* The same for work with a call, and waits for its reply. Also takes an asynchronous error that is
 * due. */
CUresult shim_stream_submit_sync(const struct shim_stream_ref *ref, const struct shim_work *work);

/* Waits for what the stream has been given so far; what cuStreamSynchronize says. */
CUresult shim_stream_wait(const struct shim_stream_ref *ref);

/* Whether that has been done: CUDA_SUCCESS or CUDA_ERROR_NOT_READY. */
CUresult shim_stream_query(const struct shim_stream_ref *ref);

#endif
