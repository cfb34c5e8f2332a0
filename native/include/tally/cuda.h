/* The CUDA driver API's types, constants and prototypes, so that no part of the build needs the
 * toolkit. generated/cuda_api.h comes from NVIDIA's header through interpose/; the few macros that
 * matter are here. */
#ifndef TALLY_CUDA_H
#define TALLY_CUDA_H

#include "tally/generated/cuda_api.h"

#define CU_STREAM_LEGACY ((CUstream)0x1)
#define CU_STREAM_PER_THREAD ((CUstream)0x2)
#define CU_LAUNCH_PARAM_END ((void *)0x00)
#define CU_LAUNCH_PARAM_BUFFER_POINTER ((void *)0x01)
#define CU_LAUNCH_PARAM_BUFFER_SIZE ((void *)0x02)

#endif
