/* Contexts are the client's own affair: objects, the stack of each thread, and what is cached in
 * them. The executor knows one session a process and device; every context of a device shares it.
 */
#ifndef TALLY_SHIM_CONTEXT_H
#define TALLY_SHIM_CONTEXT_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "connection.h"
#include "storage.h"
#include "tally/locks.h"

#define SHIM_CONTEXTS_MAX 4096u
#define SHIM_LIMITS 16u

/* A CUcontext is the address of one of these, inside a fixed table: a stale or made-up handle is
 * told from a live one without touching foreign memory. Fields are written under the table's lock;
 * `live` and `channel` are also read without it. */
struct shim_context {
    _Atomic uint64_t id; /* unique for the life of the process; 0: free slot */
    _Atomic bool live;   /* usable: a primary context is live while retained */
    bool primary;
    uint32_t device;
    uint32_t references; /* primary: retains; else cuCtxAttach's usage count */
    uint32_t flags;      /* CUctx_flags */
    uint32_t api_version;
    CUfunc_cache cache_config;
    uint64_t limits[SHIM_LIMITS]; /* by CUlimit */
    _Atomic(struct shim_channel *) channel;
    struct shim_storage storage; /* libcudart's context-local values */
};

/* The calling thread's context and its channel. CUDA_ERROR_NOT_INITIALIZED before cuInit,
 * INVALID_CONTEXT with none current, CONTEXT_IS_DESTROYED, or why the channel does not open.
 * `context` or `channel` may be NULL where it is not wanted. */
CUresult shim_current(struct shim_context **context, struct shim_channel **channel);
/* The same for a handle that a program gave; NULL means the current context. */
CUresult shim_context_of(CUcontext handle, struct shim_context **context);
/* Device of the current context; errors as shim_current. */
CUresult shim_current_device(uint32_t *device);

CUcontext shim_context_handle(struct shim_context *context);
/* The device's primary context, made when it is first asked for, without activating it. */
CUresult shim_context_primary(CUdevice device, CUcontext *out);
/* The calling thread's current context, NULL where it has none. Needs no cuInit. */
CUcontext shim_context_current_handle(void);

/* Called with each context that is destroyed or reset, so that owners of other objects let go of
 * what belongs to it. Register before the first context exists; at most SHIM_CONTEXT_HOOKS_MAX. */
#define SHIM_CONTEXT_HOOKS_MAX 8u
typedef void shim_context_hook(struct shim_context *context);
void shim_context_on_close(shim_context_hook *hook);

/* Called by each cuInit that succeeds first in its process: what launch.c takes from the
 * environment. */
void shim_launches_configure(void);

/* ---- between context.c and lifecycle.c ------------------------------------------------------ */

/* Guards creation, destruction and retain counts; never held while a message is sent or a hook
 * runs. */
extern struct tally_mutex shim_contexts_lock;

/* The object behind a handle; NULL for anything that is not a slot in use. */
struct shim_context *shim_context_lookup(CUcontext handle);
bool shim_context_is_primary(const struct shim_context *context);
/* A free slot for a program's own context, or NULL. */
struct shim_context *shim_context_free_slot_locked(void) REQUIRES(shim_contexts_lock);
/* Default state and a new id. */
void shim_context_set_up_locked(struct shim_context *context, uint32_t device, unsigned int flags)
    REQUIRES(shim_contexts_lock);
/* Lets go of what belongs to a context that has just stopped being live. */
void shim_context_close(struct shim_context *context);
CUresult shim_stack_push(struct shim_context *context); /* CUDA_ERROR_OUT_OF_MEMORY when too deep */
/* Pops the context if the calling thread has it on top. */
void shim_stack_drop(const struct shim_context *context);

/* ---- for everybody -------------------------------------------------------------------------- */

/* CUDA_SUCCESS after a successful cuInit in this process, else CUDA_ERROR_NOT_INITIALIZED. */
CUresult shim_initialized(void);
/* The device's facts; CUDA_ERROR_NOT_INITIALIZED or INVALID_DEVICE. */
CUresult shim_device_of(CUdevice device, const struct tally_device_info **info);

#endif
