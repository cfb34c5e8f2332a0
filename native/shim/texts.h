/* What kernels print. It comes between replies, on whichever thread receives, and goes out through
 * stdio on a thread that returns from a call: behind what the program has printed so far, and
 * outside of all locks. */
#ifndef TALLY_SHIM_TEXTS_H
#define TALLY_SHIM_TEXTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "connection.h"

/* Under the channel's call_lock. Text that finds no memory is lost. */
void shim_text_add_locked(struct shim_channel *channel, bool to_stderr, const uint8_t *bytes,
                          size_t count);

/* Writes what has come. */
void shim_texts_write(struct shim_channel *channel);

#endif
