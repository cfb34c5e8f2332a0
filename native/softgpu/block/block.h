/* What compiled kernels and the C code that runs them agree on. The compiler
 * (daemon/softgpu/abi.py) knows this layout by numbers; softgpuAbi() describes it, and the compiler
 * refuses a library that differs.
 *
 * A kernel is compiled to functions that run one warp: 32 lanes, from start to end. There is one
 * function per variant, which says what is known about the lanes' thread indices.
 *
 * All of this belongs to one worker thread while it runs a block; nothing here is shared. */
#ifndef TALLY_SOFTGPU_BLOCK_H
#define TALLY_SOFTGPU_BLOCK_H

#include <setjmp.h>
#include <stdatomic.h>

#include "../exec.h"
#include "fiber.h"

#define SOFT_LANES 32u
#define SOFT_WARPS_MAX 32u
#define SOFT_BARRIERS 16u
/* What a block may address; more than a block may ask for. */
#define SOFT_SHARED_WINDOW (256u << 10)
#define SOFT_LOCAL_MAX (512u << 10) /* local bytes of one thread, as CUDA's limit */
/* Local bytes of one thread for called functions' frames. */
#define SOFT_FRAMES_LOCAL (16u << 10)

/* Lane l of a warp that starts at thread (x, y, z):
 * ROW: (x + l, y, z); HALVES: rows of 16 threads; QUARTERS: rows of 8; ANY: see soft_warp.lanes. */
enum soft_variant { SOFT_ROW, SOFT_HALVES, SOFT_QUARTERS, SOFT_ANY, SOFT_VARIANTS };

struct soft_warp;
struct soft_entry;

/* Returns the lanes that exited (always all of them for an entry function). */
typedef uint32_t (*soft_warp_fn)(struct soft_warp *warp, uint32_t mask, uint64_t local,
                                 const void *arguments, void *results);

enum soft_entry_flags {
    SOFT_NEEDS_FIBERS = 1, /* has barriers, or loops that wait for other warps */
};

/* What soft_kernel.entry points to. Code is compiled when a variant is first asked for. */
struct soft_entry {
    _Atomic(soft_warp_fn) code[SOFT_VARIANTS];
    CUresult (*resolve)(uint64_t token, uint32_t variant, soft_warp_fn *code);
    uint64_t token;
    uint32_t flags;
    uint32_t local_bytes;
};

struct soft_warp {
    const struct soft_launch *launch;
    const uint8_t *params;
    uint8_t *globals;
    uint8_t *shared; /* base of the shared window */
    uint64_t region_base;
    uint64_t region_limit; /* size of the region, less a margin for accesses that are wide */
    uint64_t local_base, local_bytes;
    const void *const *helpers_at;
    uint32_t mask;  /* lanes that exist */
    uint32_t index; /* %warpid */
    uint32_t ctaid[3], ntid[3], nctaid[3];
    uint32_t tid[3];       /* of lane 0 */
    const uint32_t *lanes; /* tid.x[32], tid.y[32], tid.z[32] */
    uint32_t dynamic_shared, total_shared;
    uint32_t sm, warp_count;
    uint64_t grid_id;
    struct soft_worker *worker;
    struct soft_grid_workspace *workspace;
};

struct soft_barrier {
    uint32_t arrived;         /* warps */
    uint32_t expected;        /* warps; 0: all that have not exited */
    uint32_t count, all, any; /* of the reduction that is under way */
    uint32_t result_count, result_all, result_any;
};

/* How long a block has done nothing but look for what other blocks are to write (see waiting.c). */
struct soft_waiting {
    uint64_t seen[SOFT_WARPS_MAX]; /* what each warp saw when it last paused */
    uint64_t since_ns;             /* of looks in a row that saw nothing new; 0: none */
    uint32_t looks;                /* since `told` */
    bool told;                     /* another worker has this one's place */
};

enum soft_warp_state { SOFT_WARP_READY, SOFT_WARP_WAITS, SOFT_WARP_DONE };

struct soft_worker {
    uint32_t index;
    uint8_t *shared;         /* SOFT_SHARED_WINDOW bytes between guards */
    uint8_t *shared_mapping; /* the whole mapping */
    uint8_t *local;          /* SOFT_WARPS_MAX windows of local_stride bytes, each with a guard */
    uint64_t local_stride, local_mapped;
    struct soft_fibers fibers;
    void *signal_stack;

    /* The block that runs. */
    const struct soft_launch *launch; /* NULL: none; what signal handlers look at */
    soft_warp_fn code;
    sigjmp_buf leave;
    struct soft_outcome outcome;
    /* Non-zero: hold off an interrupt: locks may be held, or stacks are being switched. */
    volatile uint32_t critical;
    uint32_t current; /* warp whose fiber runs; SOFT_WARPS_MAX: none */
    uint32_t live;    /* warps that have not exited */
    bool in_fibers;
    bool idle; /* the warp that ran last paused, and had seen nothing new */
    struct soft_waiting waiting;
    enum soft_warp_state states[SOFT_WARPS_MAX];
    uint32_t waits_for[SOFT_WARPS_MAX];
    struct soft_barrier barriers[SOFT_BARRIERS];
    struct soft_warp warps[SOFT_WARPS_MAX];
    uint32_t lanes[SOFT_WARPS_MAX][3][SOFT_LANES];
};

/* Ends the running block; never returns. */
_Noreturn void soft_raise(struct soft_worker *worker, CUresult error, uint64_t address);
_Noreturn void soft_leave(struct soft_worker *worker, struct soft_outcome outcome);
/* Lets other warps of the block run, and other blocks while all of them wait; the caller is resumed
 * later. `seen`: of what the loop reads; if it is the same as last time, the warp waits. 0: it is.
 */
void soft_pause(struct soft_warp *warp, uint64_t seen);

/* waiting.c. A block begins; all warps that can run have looked and seen nothing new; one did
 * something. */
void soft_waiting_begin(struct soft_worker *worker);
void soft_waiting_look(struct soft_worker *worker);
void soft_waiting_over(struct soft_worker *worker);

/* Signals: once per process, and per worker thread. */
void soft_fault_install(void);
bool soft_fault_thread_begin(struct soft_worker *worker);
void soft_fault_thread_end(struct soft_worker *worker);
int soft_fault_interrupt_signal(void);

/* What compiled code calls, by index: soft_warp.helpers_at (see abi.c). */
enum soft_space { SOFT_GENERIC, SOFT_SHARED_SPACE };
void *soft_help_access(struct soft_warp *warp, uint64_t address, uint32_t bytes, uint32_t space);
void soft_help_load(struct soft_warp *warp, uint32_t mask, const uint64_t *address, void *out,
                    uint32_t bytes, uint32_t space);
void soft_help_store(struct soft_warp *warp, uint32_t mask, const uint64_t *address,
                     const void *value, uint32_t bytes, uint32_t space);
void soft_help_atom(struct soft_warp *warp, uint32_t mask, const uint64_t *address, const void *a,
                    const void *b, void *out, uint32_t code, uint32_t space);
uint32_t soft_help_barrier(struct soft_warp *warp, uint32_t mask, uint32_t id, uint32_t threads,
                           uint32_t kind, uint32_t predicate);
_Noreturn void soft_help_trap(struct soft_warp *warp, uint32_t error);
void soft_help_yield(struct soft_warp *warp, uint64_t seen);
void soft_help_print(struct soft_warp *warp, uint32_t mask, const uint64_t *format,
                     const uint64_t *arguments, uint32_t *result);
_Noreturn void soft_help_assert(struct soft_warp *warp, uint32_t mask, const uint64_t *message,
                                const uint64_t *file, const uint32_t *line,
                                const uint64_t *function);
void soft_help_round(uint32_t code, const void *a, const void *b, const void *c, void *out);
void soft_help_divide(uint32_t code, const uint64_t *a, const uint64_t *b, uint64_t *out);
uint64_t soft_help_clock(uint32_t what);
void soft_help_mma(uint32_t code, const uint32_t *a, const uint32_t *b, const uint32_t *c,
                   uint32_t *d);
void soft_help_ldmatrix(struct soft_warp *warp, const uint64_t *address, uint32_t *out,
                        uint32_t count, uint32_t transposed, uint32_t space);
void soft_help_fragment(struct soft_warp *warp, uint32_t shape, uint32_t how, uint64_t address,
                        uint32_t stride, uint32_t *words);
void soft_help_wmma(uint32_t kinds, uint32_t shape, const uint32_t *a, const uint32_t *b,
                    const uint32_t *c, uint32_t *d);
void soft_help_mbarrier(struct soft_warp *warp, uint32_t mask, uint32_t code,
                        const uint64_t *address, const uint64_t *operand, uint64_t *out);
void soft_help_malloc(struct soft_warp *warp, uint32_t mask, const uint64_t *bytes, uint64_t *out);
void soft_help_free(struct soft_warp *warp, uint32_t mask, const uint64_t *address);

#endif
