/* Streams and events: minted here, so that creating one is a one-way message. */
#ifndef TALLY_SHIM_STREAMS_H
#define TALLY_SHIM_STREAMS_H

#include <stdbool.h>
#include <stdint.h>

#include "connection.h"
#include "context.h"

struct shim_stream {
    uint64_t handle;
    struct shim_channel *channel;
    struct shim_context *context;
    uint64_t id; /* cuStreamGetId: unique in the process */
    uint32_t flags;
    int priority;
    struct shim_stream *next; /* of the free records */
};

struct shim_event {
    uint64_t handle;
    struct shim_channel *channel;
    struct shim_context *context;
    uint32_t flags;
    struct shim_event *next;
};

/* What a stream parameter means here and now. */
struct shim_stream_ref {
    struct shim_channel *channel;
    struct shim_context *context;
    struct shim_stream *stream; /* NULL: the legacy default stream */
    uint64_t wire;              /* as it is sent */
};

/* NULL is the legacy stream, or the calling thread's own where `per_thread`; CU_STREAM_LEGACY and
 * CU_STREAM_PER_THREAD say so themselves. CUDA_ERROR_INVALID_HANDLE, the context's error, or what
 * shim_channel_check says. */
CUresult shim_stream_resolve(bool per_thread, CUstream stream, struct shim_stream_ref *ref);

/* A number unique per stream: cuStreamGetId. */
uint64_t shim_stream_id(const struct shim_stream_ref *ref);

/* NULL: not a live event. */
struct shim_event *shim_event_get(CUevent event);

/* Destroys what belongs to a context that ends. */
void shim_streams_close(struct shim_context *context);
void shim_events_close(struct shim_context *context);

#endif
