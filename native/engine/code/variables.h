/* Variables of a module, for rewritten forms of its kernels in a module of their own (rewriter.c):
 * the forms find their addresses in a table, which is filled here (scheduler/ptx/variables.py
 * writes both sides). */
#ifndef TALLY_ENGINE_VARIABLES_H
#define TALLY_ENGINE_VARIABLES_H

#include <stddef.h>

#include "engine/engine.h"
#include "tally/cuda.h"

struct session;

struct addresses {
    CUdeviceptr *items; /* to be freed */
    size_t count;
};

/* Where the variables are that the forms' text names; CUDA_SUCCESS also where it names none. */
CUresult variables_find(struct session *session, CUmodule originals, const char *text,
                        struct addresses *found);
/* Into the loaded forms' table. */
CUresult variables_fill(struct session *session, CUmodule forms, const struct addresses *addresses);

#endif
