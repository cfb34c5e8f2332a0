/* Context objects, each thread's stack of them, and the functions that switch them. */
#include "context.h"

#include <stdlib.h>
#include <string.h>

#include "generated/custom.h"
#include "tell.h"

#define STACK_INLINE 16u /* most threads never have more; deeper stacks are on the heap */
#define STACK_MAX 65536u

/* Slots below TALLY_DEVICES_MAX are the devices' primary contexts, which never lose their slot. */
static struct shim_context contexts[SHIM_CONTEXTS_MAX];
struct tally_mutex shim_contexts_lock = TALLY_MUTEX_INIT;
static uint64_t next_id GUARDED_BY(shim_contexts_lock) = 1;
static uint32_t next_slot GUARDED_BY(shim_contexts_lock) =
    TALLY_DEVICES_MAX; /* round robin, so that a stale handle stays stale for long */
static shim_context_hook *hooks[SHIM_CONTEXT_HOOKS_MAX];
static uint32_t hook_count;
static _Atomic bool initialized;

struct stack_entry {
    struct shim_context *context;
    uint64_t id; /* of the context when it was pushed; primary contexts outlive their ids */
};

static _Thread_local struct {
    uint32_t depth, capacity; /* 0: `some` is in use */
    struct stack_entry *many;
    struct stack_entry some[STACK_INLINE];
} stack;

/* The stack's top, for the look-up in every call: a word of static TLS costs no call into the
 * loader. */
static _Thread_local struct stack_entry *stack_top __attribute__((tls_model("initial-exec")));

static struct stack_entry *entries(void) { return stack.capacity ? stack.many : stack.some; }

static void set_depth(uint32_t depth)
{
    stack.depth = depth;
    if (!depth && stack.capacity) {
        free(stack.many);
        stack.capacity = 0;
    }
    stack_top = depth > 0 ? &entries()[depth - 1] : NULL;
}

/* Room for one entry more. */
static bool grow(void)
{
    uint32_t room = stack.capacity ? stack.capacity : STACK_INLINE;
    if (stack.depth < room)
        return true;
    if (stack.depth >= STACK_MAX) {
        shim_tell("a thread can have %u contexts on its stack, and has them", STACK_MAX);
        return false;
    }
    struct stack_entry *many = malloc(2 * room * sizeof *many);
    if (!many)
        return false;
    memcpy(many, entries(), stack.depth * sizeof *many);
    if (stack.capacity)
        free(stack.many);
    stack.many = many;
    stack.capacity = 2 * room;
    return true;
}

/* ---- objects -------------------------------------------------------------------------------- */

/* A forked child has its parent's memory but none of its sessions: it starts as if freshly loaded.
 * The lock is taken over the fork so that the table is never copied half-written. */
static void before_fork(void) ACQUIRES(shim_contexts_lock)
{
    tally_mutex_take(&shim_contexts_lock);
}
static void after_fork_parent(void) RELEASES(shim_contexts_lock)
{
    tally_mutex_give(&shim_contexts_lock);
}
static void after_fork_child(void) RELEASES(shim_contexts_lock)
{
    set_depth(0);
    memset(contexts, 0, sizeof contexts);
    atomic_store(&initialized, false);
    tally_mutex_give(&shim_contexts_lock);
}

__attribute__((constructor)) static void watch_forks(void)
{
    pthread_atfork(before_fork, after_fork_parent, after_fork_child);
}

void shim_context_on_close(shim_context_hook *hook)
{
    if (hook_count < SHIM_CONTEXT_HOOKS_MAX)
        hooks[hook_count++] = hook;
}

CUcontext shim_context_handle(struct shim_context *context) { return (CUcontext)context; }

bool shim_context_is_primary(const struct shim_context *context)
{
    return context < contexts + TALLY_DEVICES_MAX;
}

/* The object behind a handle, or NULL for anything that is not a slot in use. */
struct shim_context *shim_context_lookup(CUcontext handle)
{
    uintptr_t offset = (uintptr_t)handle - (uintptr_t)contexts;
    if (offset >= sizeof contexts || offset % sizeof contexts[0] != 0)
        return NULL;
    struct shim_context *context = &contexts[offset / sizeof contexts[0]];
    return atomic_load_explicit(&context->id, memory_order_acquire) != 0 ? context : NULL;
}

void shim_context_set_up_locked(struct shim_context *context, uint32_t device, unsigned int flags)
{
    const struct tally_device_info *info = shim_device((int)device);
    context->device = device;
    context->primary = shim_context_is_primary(context);
    context->flags = flags;
    context->api_version = CUDA_VERSION;
    context->cache_config = CU_FUNC_CACHE_PREFER_NONE;
    memcpy(context->limits, info->limits, sizeof context->limits);
    atomic_store_explicit(&context->id, next_id++, memory_order_release);
}

CUresult shim_context_primary(CUdevice device, CUcontext *out)
{
    const struct tally_device_info *info;
    CUresult status = shim_device_of(device, &info);
    if (status != CUDA_SUCCESS)
        return status;
    struct shim_context *context = &contexts[device];
    if (atomic_load_explicit(&context->id, memory_order_acquire) == 0) {
        tally_mutex_take(&shim_contexts_lock);
        if (atomic_load(&context->id) == 0)
            shim_context_set_up_locked(context, (uint32_t)device, 0);
        tally_mutex_give(&shim_contexts_lock);
    }
    *out = shim_context_handle(context);
    return CUDA_SUCCESS;
}

/* A free slot of its own for a new context, or NULL. */
struct shim_context *shim_context_free_slot_locked(void)
{
    const uint32_t count = SHIM_CONTEXTS_MAX - TALLY_DEVICES_MAX;
    for (uint32_t i = 0; i < count; i++) {
        uint32_t slot = TALLY_DEVICES_MAX + (next_slot - TALLY_DEVICES_MAX + i) % count;
        if (atomic_load(&contexts[slot].id) == 0) {
            next_slot = slot + 1 < SHIM_CONTEXTS_MAX ? slot + 1 : TALLY_DEVICES_MAX;
            return &contexts[slot];
        }
    }
    shim_tell("a program can have %u contexts, and has them", count);
    return NULL;
}

/* What belongs to a context that has just stopped being live. Without shim_contexts_lock: hooks and
 * destructors call back into the driver. */
void shim_context_close(struct shim_context *context)
{
    shim_storage_clear(&context->storage, shim_context_handle(context));
    for (uint32_t i = 0; i < hook_count; i++)
        hooks[i](context);
}

/* ---- the calling thread's stack ------------------------------------------------------------- */

static struct stack_entry *top(void) { return stack_top; }

CUresult shim_stack_push(struct shim_context *context)
{
    if (!grow())
        return CUDA_ERROR_OUT_OF_MEMORY;
    entries()[stack.depth] = (struct stack_entry){context, atomic_load(&context->id)};
    set_depth(stack.depth + 1);
    return CUDA_SUCCESS;
}

void shim_stack_drop(const struct shim_context *context)
{
    if (top() != NULL && top()->context == context)
        set_depth(stack.depth - 1);
}

CUcontext shim_context_current_handle(void)
{
    const struct stack_entry *entry = top();
    return entry != NULL ? shim_context_handle(entry->context) : NULL;
}

CUresult shim_initialized(void)
{
    return atomic_load_explicit(&initialized, memory_order_acquire) ? shim_ready()
                                                                    : CUDA_ERROR_NOT_INITIALIZED;
}

static SHIM_RARE CUresult no_context(void)
{
    CUresult status = shim_initialized();
    return status == CUDA_SUCCESS ? CUDA_ERROR_INVALID_CONTEXT : status;
}

static CUresult current(struct shim_context **out)
{
    const struct stack_entry *entry = top();
    if (entry == NULL)
        return no_context();
    struct shim_context *context = entry->context;
    bool same = shim_context_is_primary(context) ||
                atomic_load_explicit(&context->id, memory_order_acquire) == entry->id;
    if (!same || !atomic_load_explicit(&context->live, memory_order_acquire))
        return CUDA_ERROR_CONTEXT_IS_DESTROYED;
    *out = context;
    return CUDA_SUCCESS;
}

static SHIM_RARE CUresult open_channel(struct shim_context *context, struct shim_channel **out)
{
    CUresult status = shim_channel_open((int)context->device, out);
    if (status == CUDA_SUCCESS)
        atomic_store_explicit(&context->channel, *out, memory_order_release);
    return status;
}

CUresult shim_current(struct shim_context **context, struct shim_channel **channel)
{
    struct shim_context *found;
    CUresult status = current(&found);
    if (status != CUDA_SUCCESS)
        return status;
    if (context != NULL)
        *context = found;
    if (channel == NULL)
        return CUDA_SUCCESS;
    *channel = atomic_load_explicit(&found->channel, memory_order_acquire);
    if (*channel == NULL)
        status = open_channel(found, channel);
    return status == CUDA_SUCCESS ? shim_channel_check(*channel) : status;
}

CUresult shim_current_device(uint32_t *device)
{
    struct shim_context *context;
    CUresult status = current(&context);
    if (status == CUDA_SUCCESS)
        *device = context->device;
    return status;
}

CUresult shim_context_of(CUcontext handle, struct shim_context **out)
{
    if (handle == NULL)
        return current(out);
    CUresult status = shim_initialized();
    if (status != CUDA_SUCCESS)
        return status;
    *out = shim_context_lookup(handle);
    return *out != NULL ? CUDA_SUCCESS : CUDA_ERROR_INVALID_CONTEXT;
}

/* ---- switching ------------------------------------------------------------------------------ */

CUresult shim_cuCtxPushCurrent_v2(CUcontext ctx)
{
    CUresult status = shim_initialized();
    if (status != CUDA_SUCCESS)
        return status;
    struct shim_context *context = shim_context_lookup(ctx);
    return context != NULL ? shim_stack_push(context) : CUDA_ERROR_INVALID_CONTEXT;
}

CUresult shim_cuCtxPopCurrent_v2(CUcontext *pctx)
{
    CUresult status = shim_initialized();
    if (status != CUDA_SUCCESS)
        return status;
    if (stack.depth == 0)
        return CUDA_ERROR_INVALID_CONTEXT;
    if (pctx != NULL)
        *pctx = shim_context_current_handle();
    set_depth(stack.depth - 1);
    return CUDA_SUCCESS;
}

/* Replaces the top of the stack. libcudart makes a primary context current before it retains it, so
 * an idle one is accepted. */
CUresult shim_cuCtxSetCurrent(CUcontext ctx)
{
    CUresult status = shim_initialized();
    if (status != CUDA_SUCCESS)
        return status;
    struct shim_context *context = ctx != NULL ? shim_context_lookup(ctx) : NULL;
    if (ctx != NULL && context == NULL)
        return CUDA_ERROR_INVALID_CONTEXT;
    if (stack.depth > 0)
        set_depth(stack.depth - 1);
    return context != NULL ? shim_stack_push(context) : CUDA_SUCCESS;
}

CUresult shim_cuCtxGetCurrent(CUcontext *pctx)
{
    CUresult status = shim_initialized();
    if (status != CUDA_SUCCESS)
        return status;
    if (pctx == NULL)
        return CUDA_ERROR_INVALID_VALUE;
    *pctx = shim_context_current_handle();
    return CUDA_SUCCESS;
}

CUresult shim_cuInit(unsigned int Flags)
{
    if (Flags != 0)
        return CUDA_ERROR_INVALID_VALUE;
    if (shim_initialized() == CUDA_SUCCESS)
        return CUDA_SUCCESS;
    CUresult status = shim_init();
    if (status == CUDA_SUCCESS)
        status = shim_devices_choose();
    if (status == CUDA_SUCCESS) {
        shim_launches_configure();
        atomic_store_explicit(&initialized, true, memory_order_release);
    }
    return status;
}
