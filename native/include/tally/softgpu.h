/* softgpu: a GPU in software behind the CUDA driver API (a subset), built as libtally_softgpu.so.
 *
 * It exports cu* functions like the real driver, and these few beside them. A program that only
 * knows the driver API works with it unchanged: tenant 0 and no compiler needed for anything but
 * PTX.
 *
 * Tenants: what isolates sessions that share one context. Every thread has a current tenant;
 * memory, modules and streams belong to the tenant that made them, kernels may touch only their
 * tenant's memory, and a fault (illegal address, trap, assert) is sticky for its tenant alone. */
#ifndef TALLY_SOFTGPU_H
#define TALLY_SOFTGPU_H

#include <stddef.h>
#include <stdint.h>

#include "tally/cuda.h" /* CUresult: the CUDA driver API's types, see native/include/tally/cuda.h */

struct soft_code; /* native/softgpu/exec.h */

/* Compile PTX (NUL-terminated at ptx[bytes]) to code. Called on the thread that loads a module; may
 * take seconds; must be safe to call from several threads. 0 and *code set, or a CUresult and a
 * NUL-terminated log that names opcode and line. The code must stay valid until it is released. */
typedef CUresult (*softgpu_compile_fn)(void *user, const char *ptx, size_t bytes,
                                       const struct soft_code **code, char *log, size_t log_bytes);
CUresult softgpuSetCompiler(softgpu_compile_fn compile, void *user);
/* Once for each success of the compiler, when nothing of the code runs any more. No lock is held.
 */
typedef void (*softgpu_release_fn)(void *user, const struct soft_code *code);
CUresult softgpuSetRelease(softgpu_release_fn release, void *user);

/* Before cuInit: number of devices (default 1), worker threads a device (default: the CPUs),
 * device memory in bytes (default: a quarter of RAM), dry mode (machine code is accepted, and every
 * launch is checked and skipped; copies and memsets are carried out). 0 keeps a default. */
CUresult softgpuConfigure(uint32_t devices, uint32_t workers, uint64_t memory_bytes, int dry);

/* Before cuInit: which executor's part of the address space device memory lies in (tally/address.h;
 * default: device 0's). Programs that use several executors tell their addresses apart. */
CUresult softgpuSetPart(uint32_t device);

/* Unlike in tenant 0, cuMemFree and cuMemHostUnregister do not wait for work: who made the tenant
 * sees to it. */
CUresult softgpuTenantCreate(uint32_t *tenant);
CUresult softgpuTenantSet(uint32_t tenant); /* of the calling thread; 0: the default tenant */
/* Stops what the tenant has queued and running (a block that runs is interrupted), waits until no
 * worker touches its memory, and frees all that it owns. */
CUresult softgpuTenantDestroy(uint32_t tenant);
/* The first half of TenantDestroy, for owners whose threads may be inside a call
 * (cuEventSynchronize, ...): running blocks are interrupted, queued work is dropped, every waiting
 * and later call of the tenant returns CUDA_ERROR_CONTEXT_IS_DESTROYED. Its objects stay valid
 * until TenantDestroy frees them: memory, modules, streams and events. */
CUresult softgpuTenantStop(uint32_t tenant);
/* TenantStop will be called soon, by a thread that may be waiting for the compiler: that wait ends.
 * Waits for nothing itself. The compiler asks softgpuLeaving on the thread that called it: 1 if it
 * should stop waiting. */
CUresult softgpuTenantLeave(uint32_t tenant);
int softgpuLeaving(void);
/* Whether code for the tenant is compiled ahead of others', and what the compiler asks of its
 * caller's. */
CUresult softgpuTenantSetUrgent(uint32_t tenant, int urgent);
int softgpuUrgent(void);
/* One line on what made the tenant's work fail: error, kernel, block, address. Empty: no kernel
 * did. */
CUresult softgpuTenantFault(uint32_t tenant, char *text, size_t bytes);
/* The VA range of the tenant's device memory. */
CUresult softgpuTenantRegion(uint32_t tenant, uint64_t *base, uint64_t *bytes);

/* Text of device printf (fd 1) and assert (fd 2). Called from worker threads, one call at a time
 * per tenant. Default: write(fd). */
typedef void (*softgpu_output_fn)(void *user, uint32_t tenant, int fd, const char *text,
                                  size_t bytes);
CUresult softgpuSetOutput(softgpu_output_fn output, void *user);

/* Worker time spent in the tenant's blocks, in nanoseconds, and how many blocks. */
CUresult softgpuTenantUsage(uint32_t tenant, uint64_t *busy_ns, uint64_t *blocks);

/* Host memory that the tenant's kernels may touch, mapped (or left unmapped) by the caller, who may
 * also let pages vanish: work that touches them then fails. The tenant must be idle. */
CUresult softgpuTenantSetPinned(uint32_t tenant, uint64_t base, uint64_t bytes);

/* Device time of launches, copies and fills without events: one that is made while the calling
 * thread's tag is not 0 calls back when its last block has ended, on a worker thread (a short copy:
 * on the calling one), before the stream goes on. One that is dropped because its tenant failed may
 * not call back; instead the failure itself is told, once, with tag 0, on any thread. The callback
 * must be short and must not call cu* or softgpu*. The tag stays until it is set again. */
struct softgpu_launch_times {
    uint64_t tag;
    uint64_t start_ns, end_ns; /* first block's start, last block's end; CLOCK_MONOTONIC */
    uint64_t active_ns;        /* of it, how long at least one worker ran its blocks */
    uint64_t yielded_ns; /* when its last running block first left all workers to more urgent work;
                            0: never */
    uint64_t busy_ns;    /* worker time */
    uint64_t blocks;
    uint32_t tenant;
    int32_t error; /* CUresult; not 0: some blocks did not run */
};
typedef void (*softgpu_launch_done_fn)(void *user, const struct softgpu_launch_times *times);
CUresult softgpuSetLaunchDone(softgpu_launch_done_fn done, void *user);
void softgpuLaunchTag(uint64_t tag);

/* For zstd-compressed images where the machine has no libzstd.so.1: fills exactly dst_bytes and
 * returns 0, or returns another number. Must be safe to call from several threads. */
typedef int (*softgpu_decompress_fn)(void *user, const void *src, size_t src_bytes, void *dst,
                                     size_t dst_bytes);
CUresult softgpuSetDecompressor(softgpu_decompress_fn decompress, void *user);

#endif
