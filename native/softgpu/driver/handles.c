/* Handles are numbers that look like pointers to nobody: tag, kind, generation, index. A stale,
 * foreign or made-up one is told apart without touching memory that it might point at. */
#include <stdlib.h>
#include <string.h>

#include "soft.h"

#define TAG 0x50f7ull
#define INDEX_BITS 22
#define INDEX_MAX (1u << INDEX_BITS)
#define GENERATION_MASK 0x3fffffu

struct slot {
    struct soft_object *object;
    uint32_t generation;
    uint32_t next_free; /* index + 1; 0 ends the list */
};

static struct slot *slots;
static uint32_t slot_count, slot_room, free_head;

static uint64_t encode(enum soft_kind kind, uint32_t generation, uint32_t index)
{
    return TAG << 48 | (uint64_t)kind << 44 | (uint64_t)generation << INDEX_BITS | index;
}

uint64_t soft_handle_add(struct soft_object *object, enum soft_kind kind, uint32_t tenant)
{
    uint32_t index;
    if (free_head) {
        index = free_head - 1;
        free_head = slots[index].next_free;
    } else {
        if (slot_count == slot_room) {
            uint32_t room = slot_room ? slot_room * 2 : 256;
            struct slot *grown = room <= INDEX_MAX ? realloc(slots, room * sizeof *slots) : NULL;
            if (!grown)
                return 0;
            slots = grown;
            slot_room = room;
        }
        index = slot_count++;
        slots[index].generation = 0;
    }
    struct slot *slot = &slots[index];
    slot->generation = (slot->generation + 1) & GENERATION_MASK;
    slot->object = object;
    object->kind = kind;
    object->tenant = tenant;
    object->handle = encode(kind, slot->generation, index);
    return object->handle;
}

void soft_handle_remove(struct soft_object *object)
{
    uint32_t index = object->handle & (INDEX_MAX - 1);
    if (!object->handle)
        return;
    slots[index].object = NULL;
    slots[index].next_free = free_head;
    free_head = index + 1;
    object->handle = 0;
}

void *soft_handle_get(const void *handle, enum soft_kind kind, uint32_t tenant)
{
    uint64_t value = (uint64_t)(uintptr_t)handle;
    uint32_t index = value & (INDEX_MAX - 1);
    if (value >> 48 != TAG || index >= slot_count)
        return NULL;
    struct soft_object *object = slots[index].object;
    if (!object || object->handle != value || object->kind != kind)
        return NULL;
    /* Contexts are shared: tenants isolate what sessions put into one. */
    return kind == SOFT_CONTEXT || object->tenant == tenant ? object : NULL;
}

struct soft_object *soft_handle_next(uint32_t tenant, uint32_t *cursor)
{
    while (*cursor < slot_count) {
        struct soft_object *object = slots[(*cursor)++].object;
        if (object && object->kind != SOFT_CONTEXT && object->tenant == tenant)
            return object;
    }
    return NULL;
}
