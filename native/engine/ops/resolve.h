/* What generated dispatch (ops/generated/dispatch_gen.c) asks of the engine. */
#ifndef TALLY_ENGINE_RESOLVE_H
#define TALLY_ENGINE_RESOLVE_H

#include <stdbool.h>
#include <stdint.h>

#include "tally/generated/driver_table.h"

struct session;

/* The driver's object behind a client's handle; CUDA_ERROR_INVALID_HANDLE where there is none. The
 * stream is made ready for an op (ordered against the legacy stream) as for any other. */
CUresult engine_resolve_stream(struct session *session, uint64_t handle, CUstream *out);
CUresult engine_resolve_event(struct session *session, uint64_t handle, CUevent *out);
CUresult engine_resolve_function(struct session *session, uint64_t handle, CUfunction *out);
CUresult engine_resolve_module(struct session *session, uint64_t handle, CUmodule *out);
const struct tally_driver *engine_driver(struct session *session);

#endif
