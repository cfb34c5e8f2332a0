/* How a module's image gets to the executor. */
#ifndef TALLY_SHIM_MODULE_SEND_H
#define TALLY_SHIM_MODULE_SEND_H

#include "modules.h"

/* By file range if `file` names one that the executor can read; else inline if small; else by hash,
 * and with its bytes only if the executor does not have it. */
CUresult shim_module_send(struct shim_channel *channel, uint64_t handle,
                          const struct shim_image *image, const struct shim_image_file *file,
                          struct shim_module_log *log);

/* Sends a library to a device that does not have it. CUDA_ERROR_INVALID_HANDLE: it is a module, of
 * another device. */
CUresult shim_module_on_locked(struct shim_module *module, struct shim_channel *channel)
    REQUIRES(module->lock);

/* Nothing to tell: the buffers hold empty texts. */
void shim_module_log_clear(struct shim_module_log *log);

#endif
