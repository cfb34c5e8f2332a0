/* Private tables of functions that libcudart and NVIDIA's libraries ask for by UUID. */
#ifndef TALLY_SHIM_TABLES_H
#define TALLY_SHIM_TABLES_H

#include <stdint.h>

#include "tally/cuda.h"

typedef void (*shim_slot_function)(void);

/* A slot with a function of its own; the others get stubs. */
struct shim_table_slot {
    uint32_t index;
    shim_slot_function function;
};

/* integrity.c: slot 1 of the INTEGRITY table. The tables' addresses are part of what is digested.
 */
CUresult shim_integrity_check(uint32_t version, uint64_t unix_seconds, uint8_t out[16]);
void shim_integrity_tables(const void *cudart, const void *integrity);

/* tools.c: slots of ToolsContext and ToolsModule. */
CUresult shim_tools_context_id(CUcontext context, uint64_t *id);
CUresult shim_tools_stream_id(CUcontext context, void *object, uint64_t *id);
CUresult shim_tools_stream_object(CUcontext context, CUstream stream, void **object,
                                  uint8_t per_thread);
uint32_t shim_tools_each_function(CUcontext context, CUmodule module,
                                  void (*visit)(void *user, CUfunction function, void *owner),
                                  void *user);

#endif
