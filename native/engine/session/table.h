/* What a client's handles of one kind mean. Indices are the client's choice, bounded by
 * TALLY_INDEX_MAX. Not thread-safe. */
#ifndef TALLY_ENGINE_TABLE_H
#define TALLY_ENGINE_TABLE_H

#include <stdbool.h>
#include <stdint.h>

struct table {
    uint32_t kind; /* enum tally_kind */
    uint32_t room;
    void **items;
};

/* NULL unless the handle is of the table's kind and bound. Any number may be asked for. */
void *table_get(const struct table *table, uint64_t handle);
/* A well-formed handle that is bound to nothing: may be created. */
bool table_is_free(const struct table *table, uint64_t handle);
/* False: short of memory. The handle must be free. */
bool table_set(struct table *table, uint64_t handle, void *item);
/* Unbinds and returns what it was, or NULL. */
void *table_take(struct table *table, uint64_t handle);
void table_clear(struct table *table);

#endif
