/* Fillers for the private tables: each knows its place, is counted, and answers
 * CUDA_ERROR_NOT_SUPPORTED. */
#ifndef TALLY_SHIM_STUBS_H
#define TALLY_SHIM_STUBS_H

#include "tally/cuda.h"

#define SHIM_STUB_TABLES 12u
#define SHIM_STUB_SLOTS 96u

typedef CUresult shim_stub(void);

extern shim_stub *const shim_stubs[SHIM_STUB_TABLES][SHIM_STUB_SLOTS];

/* Called by the stub of that place; tables.c knows the table's UUID. */
CUresult shim_stub_called(unsigned int table, unsigned int slot);

#endif
