/* Copies, fills and single values: what they are cut into, and how a piece runs. */
#include <string.h>

#include "queue.h"

/* About 50 us: how long a copy may keep something more urgent waiting. */
#define CHUNK_BYTES (512u << 10)

/* ---- copies --------------------------------------------------------------------------------- */

/* Rows that follow one another without gaps are one long row. */
static void flatten(struct soft_box *box)
{
    if (box->height > 1 && box->dst_pitch == box->width && box->src_pitch == box->width &&
        (box->depth == 1 ||
         (box->dst_slice == box->width * box->height && box->src_slice == box->dst_slice))) {
        box->width *= box->height * box->depth;
        box->height = box->depth = 1;
    }
}

void soft_box_plan(struct soft_op *op)
{
    struct soft_box *box = &op->box;
    flatten(box);
    uint64_t rows = box->height * box->depth;
    if (rows == 0 || box->width == 0) {
        op->total = 0;
    } else if (rows == 1) {
        op->part_bytes = CHUNK_BYTES;
        op->total = (box->width + CHUNK_BYTES - 1) / CHUNK_BYTES;
    } else {
        uint64_t rows_per_part = box->width < CHUNK_BYTES ? CHUNK_BYTES / box->width : 1;
        op->part_bytes = rows_per_part;
        op->total = (rows + rows_per_part - 1) / rows_per_part;
    }
    /* Overlapping copies in several chunks would depend on who is first. */
    uint64_t reach = box->width;
    if (rows == 1 && op->total > 1 && box->dst < box->src + reach && box->src < box->dst + reach) {
        op->part_bytes = box->width;
        op->total = 1;
    }
}

struct piece {
    const struct soft_op *op;
    uint64_t part;
};

static void copy_bytes(uint64_t dst, uint64_t src, uint64_t bytes)
{
    memmove((void *)(uintptr_t)dst, (const void *)(uintptr_t)src, bytes);
}

static void run_box(void *argument)
{
    const struct piece *piece = argument;
    const struct soft_op *op = piece->op;
    const struct soft_box *box = &op->box;
    uint64_t rows = box->height * box->depth, at = piece->part * op->part_bytes;
    if (rows == 1) {
        copy_bytes(box->dst + at, box->src + at,
                   box->width - at < op->part_bytes ? box->width - at : op->part_bytes);
        return;
    }
    for (uint64_t row = at; row < at + op->part_bytes && row < rows; row++) {
        uint64_t y = row % box->height, z = row / box->height;
        copy_bytes(box->dst + z * box->dst_slice + y * box->dst_pitch,
                   box->src + z * box->src_slice + y * box->src_pitch, box->width);
    }
}

bool soft_box_run(const struct soft_op *op, uint64_t part)
{
    return soft_guarded(run_box, &(struct piece){op, part});
}

/* ---- fills ---------------------------------------------------------------------------------- */

void soft_fill_plan(struct soft_op *op)
{
    struct soft_fill *fill = &op->fill;
    if (fill->height > 1 && fill->pitch == fill->width) {
        fill->width *= fill->height;
        fill->height = 1;
    }
    uint64_t rows_per_part =
        fill->width && fill->width < CHUNK_BYTES ? CHUNK_BYTES / fill->width : 1;
    if (fill->width == 0 || fill->height == 0) {
        op->total = 0;
    } else if (fill->height == 1) {
        op->part_bytes = CHUNK_BYTES;
        op->total = (fill->width + CHUNK_BYTES - 1) / CHUNK_BYTES;
    } else {
        op->part_bytes = rows_per_part;
        op->total = (fill->height + rows_per_part - 1) / rows_per_part;
    }
}

static void fill_bytes(uint64_t dst, uint64_t bytes, const struct soft_fill *fill)
{
    uint8_t *at = (uint8_t *)(uintptr_t)dst;
    uint8_t byte = (uint8_t)fill->value;
    bool uniform = fill->element_bytes == 1 ||
                   (fill->element_bytes == 2 && (fill->value & 0xffff) == byte * 0x101u) ||
                   (fill->element_bytes == 4 && fill->value == byte * 0x1010101u);
    if (uniform) {
        memset(at, byte, bytes);
    } else if (fill->element_bytes == 2) {
        for (uint64_t i = 0; i < bytes / 2; i++)
            ((uint16_t *)at)[i] = (uint16_t)fill->value;
    } else {
        for (uint64_t i = 0; i < bytes / 4; i++)
            ((uint32_t *)at)[i] = fill->value;
    }
}

static void run_fill(void *argument)
{
    const struct piece *piece = argument;
    const struct soft_op *op = piece->op;
    const struct soft_fill *fill = &op->fill;
    uint64_t at = piece->part * op->part_bytes;
    if (fill->height == 1) {
        fill_bytes(fill->dst + at,
                   fill->width - at < op->part_bytes ? fill->width - at : op->part_bytes, fill);
        return;
    }
    for (uint64_t row = at; row < at + op->part_bytes && row < fill->height; row++)
        fill_bytes(fill->dst + row * fill->pitch, fill->width, fill);
}

bool soft_fill_run(const struct soft_op *op, uint64_t part)
{
    return soft_guarded(run_fill, &(struct piece){op, part});
}

/* ---- single values -------------------------------------------------------------------------- */

static void run_write(void *argument)
{
    const struct soft_value *value = argument;
    if (value->wide)
        __atomic_store_n((uint64_t *)(uintptr_t)value->address, value->value, __ATOMIC_RELEASE);
    else
        __atomic_store_n((uint32_t *)(uintptr_t)value->address, (uint32_t)value->value,
                         __ATOMIC_RELEASE);
}

bool soft_value_write(const struct soft_value *value)
{
    return soft_guarded(run_write, (void *)value);
}

struct look {
    const struct soft_value *value;
    uint64_t found;
};

static void run_look(void *argument)
{
    struct look *look = argument;
    uint64_t address = look->value->address;
    if (look->value->wide)
        look->found = __atomic_load_n((const uint64_t *)(uintptr_t)address, __ATOMIC_ACQUIRE);
    else
        look->found = __atomic_load_n((const uint32_t *)(uintptr_t)address, __ATOMIC_ACQUIRE);
}

static bool compare(uint64_t found, const struct soft_value *value)
{
    uint64_t wanted = value->wide ? value->value : (uint32_t)value->value;
    switch (value->flags & 3u) {
    case CU_STREAM_WAIT_VALUE_GEQ: /* cyclic, as the driver defines it */
        return value->wide ? (int64_t)(found - wanted) >= 0
                           : (int32_t)(uint32_t)(found - wanted) >= 0;
    case CU_STREAM_WAIT_VALUE_EQ:
        return found == wanted;
    case CU_STREAM_WAIT_VALUE_AND:
        return (found & wanted) != 0;
    default: {
        uint64_t nor = ~(found | wanted);
        return (value->wide ? nor : (uint32_t)nor) != 0;
    }
    }
}

enum soft_await soft_value_reached(const struct soft_value *value)
{
    struct look look = {value, 0};
    if (!soft_guarded(run_look, &look))
        return SOFT_AWAIT_BAD;
    return compare(look.found, value) ? SOFT_AWAIT_YES : SOFT_AWAIT_NO;
}
