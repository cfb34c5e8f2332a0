/* The seam inside softgpu. Below it, compiled kernels and how one block of one runs: block/ and the
 * PTX compiler in daemon/softgpu/. Above it, in driver/, the driver API: memory, streams, events,
 * modules and the dispatch of blocks to workers. Neither side knows more of the other than this. */
#ifndef TALLY_SOFTGPU_EXEC_H
#define TALLY_SOFTGPU_EXEC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tally/cuda.h"

struct soft_param {
    uint32_t offset, bytes;
};

enum soft_kernel_flags {
    SOFT_KERNEL_WAITS = 1, /* blocks may wait for one another */
};

/* One entry function of a module. */
struct soft_kernel {
    const char *name;
    const void *entry; /* a struct soft_entry: block/'s business */
    const struct soft_param *params;
    uint32_t param_count, param_bytes;
    uint32_t static_shared_bytes;
    uint32_t local_bytes;       /* per thread */
    uint32_t max_threads;       /* .maxntid/.reqntid, else 1024 */
    uint32_t required_block[3]; /* .reqntid, else 0 */
    uint32_t registers;         /* an honest guess, for attribute queries */
    uint32_t ptx_version;       /* e.g. 80 for sm_80, as CU_FUNC_ATTRIBUTE_PTX_VERSION */
    uint32_t flags;             /* enum soft_kernel_flags */
    uint32_t const_bytes; /* of the module's constants, as CU_FUNC_ATTRIBUTE_CONST_SIZE_BYTES */
};

/* One .global or .const variable. */
struct soft_global {
    const char *name;
    uint64_t offset; /* in the module's globals block */
    uint64_t bytes;
    uint32_t is_const;
    uint32_t reserved;
};

/* Where an initial value holds an address: globals[offset] += base of the block (64-bit add). */
struct soft_relocation {
    uint64_t offset;
};

/* What a grid's barrier works on; CUDA's cooperative groups know the layout. */
struct soft_grid_workspace {
    uint32_t bytes, barrier;
};

struct soft_code {
    const struct soft_kernel *kernels;
    uint32_t kernel_count;
    uint32_t global_count;
    const struct soft_global *globals;
    /* Initial bytes; a module instance gets its own copy in device memory. */
    const uint8_t *globals_image;
    uint64_t globals_bytes; /* 0: none */
    const struct soft_relocation *relocations;
    uint64_t relocation_count;
    void *owner;          /* the compiler's own */
    uint64_t image_bytes; /* of globals_image; what is behind it is 0 */
};

/* What one launch is, for every block of it. Lives until its last block has ended. */
struct soft_launch {
    const struct soft_kernel *kernel;
    const uint8_t *params; /* kernel->param_bytes bytes, 16-aligned */
    uint8_t *globals;      /* this module instance's globals block, or NULL */
    uint32_t grid[3], block[3];
    uint32_t dynamic_shared_bytes;
    uint32_t tenant;
    uint64_t region_base, region_bytes; /* device memory that the kernel may touch ... */
    /* ... and pinned host memory; both ranges fault where unmapped. */
    uint64_t pinned_base, pinned_bytes;
    uint64_t grid_id;
    const volatile uint32_t *abort;        /* non-zero: give the launch up at once */
    struct soft_grid_workspace *workspace; /* of a cooperative launch, else NULL */
};

enum soft_outcome_kind { SOFT_DONE = 0, SOFT_ABORTED = 1, SOFT_FAULT = 2 };
struct soft_outcome {
    enum soft_outcome_kind kind;
    CUresult error;   /* SOFT_FAULT: CUDA_ERROR_ILLEGAL_ADDRESS, _ASSERT, _LAUNCH_FAILED, ... */
    uint64_t address; /* of an illegal access */
};

/* Compiles the kernel for blocks of this shape if that has not been done. Call it when a launch is
 * submitted, on the submitting thread: it may take seconds. A block that runs unresolved code
 * compiles it then. */
CUresult soft_resolve(const struct soft_kernel *kernel, const uint32_t block[3]);

/* One per worker thread, made on that thread; owns its shared/local memory and fibers. */
struct soft_worker;
struct soft_worker *soft_worker_create(uint32_t index);
void soft_worker_destroy(struct soft_worker *worker);

/* Runs block number `block` (x fastest) from start to end on the calling worker thread. A fault
 * inside ends the block, never the process. */
struct soft_outcome soft_run_block(struct soft_worker *worker, const struct soft_launch *launch,
                                   uint64_t block);

/* From any thread: interrupts what the worker runs if *abort of that launch is set. */
void soft_worker_interrupt(struct soft_worker *worker);

/* Given by the upper side: the block that the calling worker runs waits for other blocks, or goes
 * on. While it waits, another worker takes its place. */
void soft_block_waits(bool waits);
/* The block still waits: where no other one of its launch has ended for a while, more may begin. */
void soft_block_waits_on(void);
/* Given by the upper side, to worker threads: device memory for kernels' malloc, 0 where none is
 * left; false: it is not allocated. */
uint64_t soft_heap_alloc(uint32_t tenant, uint64_t bytes);
bool soft_heap_free(uint32_t tenant, uint64_t address);
/* Given by the upper side: hands text of printf (1) and assert (2) to the tenant's sink. */
void soft_emit(uint32_t tenant, int fd, const char *text, size_t bytes);

#endif
