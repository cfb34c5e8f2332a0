/* softgpu's upper half: what its files share.
 *
 * Concurrency: one lock (soft_lock) guards handles, contexts, streams, events, modules, the queues
 * of all streams and the ready lists of all devices. Parts (blocks, chunks of copies) run without
 * it. Each tenant's memory map has a lock of its own, taken last. Nothing blocks while it holds
 * either lock. */
#ifndef TALLY_SOFTGPU_SOFT_H
#define TALLY_SOFTGPU_SOFT_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "../exec.h"
#include "blame.h"
#include "tally/address.h"
#include "tally/cuda.h"
#include "tally/softgpu.h"

#define SOFT_API __attribute__((visibility("default")))
#define SOFT_DEVICES_MAX 16u
#define SOFT_WORKERS_MAX 256u
#define SOFT_RESIDENT_MAX 16u /* blocks that one worker and its spares hold at once */
#define SOFT_RESIDENT_THREADS_MAX 1024u
#define SOFT_SPARES_MAX 1024u /* threads of a device in the place of workers whose blocks wait */
#define SOFT_PAGE 4096ull
#define SOFT_PRIORITY_LEAST 0
#define SOFT_PRIORITY_GREATEST (-5)
#define SOFT_SHARED_DEFAULT (48u << 10) /* bytes a block may use without asking */
#define SOFT_SHARED_MAX (163u << 10)    /* bytes a block may ask for, as sm_80 */
#define SOFT_DRIVER_VERSION 13000

/* ---- handles -------------------------------------------------------------------------------- */

enum soft_kind {
    SOFT_CONTEXT = 1,
    SOFT_STREAM,
    SOFT_EVENT,
    SOFT_MODULE,
    SOFT_FUNCTION,
    SOFT_LIBRARY,
};

/* First member of everything a handle names. */
struct soft_object {
    uint32_t kind;
    uint32_t tenant;
    uint64_t handle;
};

/* Under soft_lock. Zero when memory is short; the handle is also stored in the object. */
uint64_t soft_handle_add(struct soft_object *object, enum soft_kind kind, uint32_t tenant);
void soft_handle_remove(struct soft_object *object); /* once is enough, twice does no harm */
/* NULL unless it names a live object of that kind and tenant; any bit pattern is safe to ask about.
 */
void *soft_handle_get(const void *handle, enum soft_kind kind, uint32_t tenant);
/* The tenant's live objects one by one, contexts excepted; the cursor starts at 0. */
struct soft_object *soft_handle_next(uint32_t tenant, uint32_t *cursor);

/* ---- memory --------------------------------------------------------------------------------- */

enum soft_memory_kind { SOFT_MEMORY_DEVICE = 1, SOFT_MEMORY_HOST, SOFT_MEMORY_REGISTERED };

struct soft_range {
    uint64_t base;
    uint64_t bytes; /* as asked for */
    uint64_t pages; /* bytes mapped */
    uint64_t id;
    uint32_t device;
    uint32_t flags;
    enum soft_memory_kind kind;
};

struct soft_gap {
    uint64_t base, bytes;
};

/* A tenant's memory map: what it allocated in its region, and host memory that it registered. */
struct soft_memory {
    pthread_mutex_t lock;
    struct soft_range *ranges; /* by base */
    struct soft_gap *gaps;     /* by base, never adjacent */
    size_t range_count, range_room, gap_count, gap_room;
};

struct soft_tenant;
struct soft_device;

CUresult soft_memory_reserve(void); /* the arena; once */
CUresult soft_memory_open(struct soft_tenant *tenant);
/* Everything goes back; the tenant must be idle. */
void soft_memory_clear(struct soft_tenant *tenant);
CUresult soft_memory_alloc(struct soft_tenant *tenant, struct soft_device *device, uint64_t bytes,
                           enum soft_memory_kind kind, uint32_t flags, uint64_t *address);
CUresult soft_memory_free(struct soft_tenant *tenant, uint64_t address, enum soft_memory_kind kind);
CUresult soft_memory_register(struct soft_tenant *tenant, uint64_t address, uint64_t bytes,
                              uint32_t flags);
/* The range that holds the address. */
bool soft_memory_find(struct soft_tenant *tenant, uint64_t address, struct soft_range *range);

/* ---- devices, contexts, tenants ------------------------------------------------------------- */

struct soft_op;

struct soft_context {
    struct soft_object object;
    struct soft_device *device;
    uint32_t flags;
    uint32_t retained; /* primary: retains; created: 1 until destroyed */
    uint64_t id;
    bool primary;
    size_t limits[CU_LIMIT_MAX];
    CUfunc_cache cache_config;
    struct soft_context *next; /* all contexts ever made: threads' stacks may name dead ones */
};

struct soft_device {
    uint32_t index;
    struct soft_context primary;
    /* Ready list, by urgency, then age: ops that have parts nobody took yet. */
    struct soft_op *ready;
    /* Urgency of the list's head, INT_MAX when empty; workers peek without the lock. */
    _Atomic int top;
    struct soft_op *cooperative; /* the one cooperative launch that may hold workers */
    /* Worker_count of them, then as many spares as were ever needed. */
    struct soft_worker_slot *workers;
    uint32_t worker_count;
    uint32_t slot_count;
    /* Workers and spares with a part that does not wait; more when waits end. */
    _Atomic uint32_t running;
    uint32_t busy; /* of all, those with a part */
    bool started;
    pthread_cond_t work;
    uint32_t sleepers;
    bool can_background;  /* workers may change how the kernel schedules them, there and back */
    bool spinner;         /* one idle worker looks for work before it sleeps */
    uint64_t memory_used; /* under account_lock */
};

struct soft_tenant {
    uint32_t id;
    bool live;            /* calls get in */
    bool taken;           /* live, or on its way out */
    uint64_t generation;  /* tells tenants of one number apart */
    _Atomic int error;    /* sticky CUresult; CUDA_SUCCESS while well */
    _Atomic bool leaving; /* who waits for the compiler in its name should stop */
    _Atomic bool urgent;  /* its code is compiled ahead of others' */
    uint64_t region_base, region_bytes;
    uint64_t pinned_base, pinned_bytes;
    uint32_t maps_used; /* under account_lock */
    struct soft_memory memory;
    struct soft_stream *streams; /* all that live or still have work */
    struct soft_stream *legacy[SOFT_DEVICES_MAX];
    uint64_t inflight; /* ops submitted and not complete */
    pthread_cond_t idle;
    _Atomic uint64_t busy_ns, blocks, grids;
    pthread_mutex_t output_lock;
    struct soft_blame blame; /* what its error was */
    struct soft_heap *heap;  /* of its kernels; NULL: none used malloc yet */
};

struct soft_state {
    pthread_mutex_t lock;
    pthread_mutex_t account_lock; /* what processes and devices run out of; taken last of all */
    bool initialized, forked, dry;
    uint32_t device_count, worker_count;
    uint64_t memory_bytes;
    uint64_t arena_base; /* of all tenants' device memory */
    /* Threads that may look for work, or wait for it, without sleeping: half the CPUs. */
    uint32_t lookers_max;
    struct soft_device devices[SOFT_DEVICES_MAX];
    struct soft_tenant tenants[TALLY_TENANTS_MAX];
    struct soft_context *contexts;
    uint64_t next_id;       /* contexts, streams */
    uint64_t next_range_id; /* these under account_lock */
    uint32_t maps_used, maps_max;
    softgpu_compile_fn compile;
    void *compile_user;
    softgpu_release_fn release;
    void *release_user;
    struct soft_module *unloaded; /* whose code is to be released */
    softgpu_decompress_fn decompress;
    void *decompress_user;
    softgpu_output_fn output;
    void *output_user;
    softgpu_launch_done_fn launch_done;
    void *launch_done_user;
};
extern struct soft_state soft;

void soft_lock(void);
void soft_unlock(void);
uint64_t soft_now_ns(void);

static inline void soft_relax(void)
{
#if defined(__x86_64__)
    __builtin_ia32_pause();
#endif
}

/* What every API call starts with. */
struct soft_call {
    struct soft_tenant *tenant;
    uint64_t generation; /* of the tenant, for calls that take long */
    struct soft_context *context;
    struct soft_device *device;
};
CUresult soft_enter_tenant(struct soft_call *call); /* cuInit was called, the tenant is well */
CUresult soft_enter(struct soft_call *call);        /* and the thread has a live context */
struct soft_tenant *soft_tenant_current(void);
struct soft_context *soft_context_current(void);
/* The named context, or the thread's for NULL. A sticky error does not matter. */
CUresult soft_context_get(CUcontext handle, struct soft_context **context);
/* Ends all contexts' work of the tenant and frees what it owns; the tenant stays usable, and well.
 */
void soft_tenant_clear(struct soft_tenant *tenant);
/* Under the lock: makes the error sticky and gives up everything queued and running. */
void soft_tenant_fail(struct soft_tenant *tenant, CUresult error);

#endif
