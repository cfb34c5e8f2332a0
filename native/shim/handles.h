/* Dense tables from client-minted handles to records, one per kind. Look-ups take no lock; indices
 * are reused after destruction, records are the owners' business. */
#ifndef TALLY_SHIM_HANDLES_H
#define TALLY_SHIM_HANDLES_H

#include <stdint.h>

#include "tally/protocol.h"

/* A new handle of `kind` for `record` (NULL: none as yet); 0 when there are TALLY_INDEX_MAX of the
 * kind or no memory. */
uint64_t shim_handle_add(enum tally_kind kind, void *record);

/* Puts a record where a handle was made without one, or after its removal and before its release.
 */
void shim_handle_put(enum tally_kind kind, uint64_t handle, void *record);

/* The record, or NULL: not a handle of this kind, never made, or destroyed. */
void *shim_handle_get(enum tally_kind kind, uint64_t handle);

/* Takes the record out; NULL if there is none. The index is free only after shim_handle_release, so
 * that the destroying op can be sent before anybody mints the same handle. */
void *shim_handle_remove(enum tally_kind kind, uint64_t handle);
void shim_handle_release(enum tally_kind kind, uint64_t handle);

/* Calls `visit` for each live record of a kind, in order of index; it may remove that record. */
void shim_handle_each(enum tally_kind kind,
                      void (*visit)(void *user, uint64_t handle, void *record), void *user);

/* In a forked child, before any other thread: forgets all records. */
void shim_handle_forget(void);

#endif
