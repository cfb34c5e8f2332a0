/* What softgpu's driver tests share: checks, and a stand-in for the block executor whose kernels
 * are C. */
#ifndef TALLY_TESTS_SOFTGPU_FAKE_H
#define TALLY_TESTS_SOFTGPU_FAKE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

#include "../softgpu/exec.h"
#include "tally/softgpu.h"

#define CHECK(condition)                                                                           \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition);                        \
            abort();                                                                               \
        }                                                                                          \
    } while (0)

#define EXPECT(result, call)                                                                       \
    do {                                                                                           \
        CUresult got_ = (call);                                                                    \
        if (got_ != (result)) {                                                                    \
            fprintf(stderr, "%s:%d: %s gave %d, not %d\n", __FILE__, __LINE__, #call, got_,        \
                    result);                                                                       \
            abort();                                                                               \
        }                                                                                          \
    } while (0)

#define OK(call) EXPECT(CUDA_SUCCESS, call)

/* The text that the fake compiler takes. */
#define FAKE_PTX ".version 8.0\n.target sm_80\n.address_size 64\n"

/* One parameter each: the device address of a struct fake. */
struct fake {
    _Atomic uint64_t count;   /* blocks run */
    _Atomic uint32_t go;      /* "wait": blocks end once it is set */
    _Atomic uint32_t entered; /* "wait": blocks begun */
    _Atomic uint32_t ticket;  /* "note": order of blocks ... */
    uint32_t order[1024];     /* ... order[ticket] = mark << 16 | block */
    uint32_t mark;
};

struct fixture {
    uint32_t tenant; /* these two for those who need them */
    CUdeviceptr memory;
    CUcontext context;
    CUmodule module;
    CUfunction add;   /* count += 1 */
    CUfunction wait;  /* waits for go, or the abort flag */
    CUfunction note;  /* notes the order of blocks; second parameter: mark */
    CUfunction fault; /* illegal address in block 1 */
    CUfunction meet;  /* waits until all blocks of the grid have come: needs them all at once */
};

void fixture_open(struct fixture *fixture);
void fixture_close(struct fixture *fixture);
CUdeviceptr fake_new(void);
struct fake *fake_at(CUdeviceptr address);
void launch(CUfunction function, unsigned blocks, CUstream stream, CUdeviceptr fake, uint32_t mark);
CUresult try_launch(CUfunction function, unsigned blocks, CUstream stream, CUdeviceptr fake,
                    uint32_t mark);
void await(_Atomic uint32_t *value, uint32_t wanted);
void pause_ms(unsigned ms);

/* The suites. */
void test_device(void);
void test_memory(void);
void test_copies(void);
void test_modules(void);
void test_images(void);
void test_streams(void);
void test_priorities(void);
void test_events(void);
void test_values(void);
void test_tenants(void);
void test_handles(void);
void test_stress(void);

#endif
