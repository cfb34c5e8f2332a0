#include "engine/session/table.h"

#include <stdlib.h>
#include <string.h>

#include "engine/stats.h"
#include "tally/assert.h"
#include "tally/protocol.h"

void *table_get(const struct table *table, uint64_t handle)
{
    uint32_t index = TALLY_HANDLE_INDEX(handle);
    return TALLY_HANDLE_OK(handle, table->kind) && index < table->room ? table->items[index] : NULL;
}

bool table_is_free(const struct table *table, uint64_t handle)
{
    return TALLY_HANDLE_OK(handle, table->kind) && TALLY_HANDLE_INDEX(handle) < TALLY_INDEX_MAX &&
           !table_get(table, handle);
}

bool table_set(struct table *table, uint64_t handle, void *item)
{
    TALLY_ASSERT(table_is_free(table, handle) && item);
    uint32_t index = TALLY_HANDLE_INDEX(handle);
    if (index >= table->room) {
        uint32_t room = table->room ? table->room : 16;
        while (room <= index)
            room *= 2;
        void **items = realloc(table->items, room * sizeof *items);
        if (!items)
            return false;
        memset(items + table->room, 0, (room - table->room) * sizeof *items);
        table->items = items;
        table->room = room;
    }
    table->items[index] = item;
    return true;
}

void *table_take(struct table *table, uint64_t handle)
{
    void *item = table_get(table, handle);
    if (item)
        table->items[TALLY_HANDLE_INDEX(handle)] = NULL;
    return item;
}

void table_clear(struct table *table)
{
    free(table->items);
    table->items = NULL;
    table->room = 0;
}
