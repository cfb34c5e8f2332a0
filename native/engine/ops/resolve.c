#include "engine/ops/resolve.h"

#include "engine/code/function.h"
#include "engine/code/module.h"
#include "engine/session/session.h"
#include "engine/session/shared_event.h"
#include "engine/streams/event.h"
#include "engine/streams/stream.h"

const struct tally_driver *engine_driver(struct session *session) { return &session->driver->cu; }

CUresult engine_resolve_stream(struct session *session, uint64_t handle, CUstream *out)
{
    struct stream *stream = stream_find(session, handle);
    if (!stream)
        return CUDA_ERROR_INVALID_HANDLE;
    CUresult result = stream_enter(session, stream);
    *out = stream->driver;
    return result;
}

CUresult engine_resolve_event(struct session *session, uint64_t handle, CUevent *out)
{
    struct shared_event *event = event_find(session, handle);
    *out = event ? event->driver : NULL;
    return event ? CUDA_SUCCESS : CUDA_ERROR_INVALID_HANDLE;
}

CUresult engine_resolve_function(struct session *session, uint64_t handle, CUfunction *out)
{
    struct function *function = function_find(session, handle);
    *out = function ? function->driver : NULL;
    return function ? CUDA_SUCCESS : CUDA_ERROR_INVALID_HANDLE;
}

CUresult engine_resolve_module(struct session *session, uint64_t handle, CUmodule *out)
{
    struct module *module = module_find(session, handle);
    *out = module ? module->driver : NULL;
    return module ? CUDA_SUCCESS : CUDA_ERROR_INVALID_HANDLE;
}
