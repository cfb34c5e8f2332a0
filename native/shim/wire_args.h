/* Arguments of generated calls: from what a program passes to what travels. */
#ifndef TALLY_SHIM_WIRE_ARGS_H
#define TALLY_SHIM_WIRE_ARGS_H

#include <stdbool.h>
#include <stdint.h>

#include "tally/generated/ops.h"

/* CUDA_ERROR_INVALID_HANDLE for what is no live object of the kind. */
CUresult shim_wire_stream(bool per_thread, CUstream stream, uint64_t *out);
CUresult shim_wire_event(CUevent event, uint64_t *out);
CUresult shim_wire_function(CUfunction function, uint64_t *out);
/* CUDA_ERROR_INVALID_VALUE where there are more attributes than the message holds. */
CUresult shim_wire_launch_config(const CUlaunchConfig *config, struct tally_launch_config *out);

#endif
