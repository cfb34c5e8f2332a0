/* Copies, fills and single values: what they are cut into, and how a piece runs. */
#include <errno.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#include "queue.h"

#define CHUNK_BYTES (512u << 10) /* about 50 us: how long a copy may keep something more urgent waiting */

/* Memory shared with another process can lose its pages at any time (a file that is cut short), and
 * touching it then raises SIGBUS. The kernel copies such memory for us and reports an error instead. */
static bool copy_guarded(uint64_t dst, uint64_t src, uint64_t bytes)
{
    struct iovec to = {(void *)(uintptr_t)dst, bytes}, from = {(void *)(uintptr_t)src, bytes};
    while (to.iov_len) {
        ssize_t done = process_vm_readv(getpid(), &to, 1, &from, 1, 0);
        if (done < 0 && (errno == ENOSYS || errno == EPERM)) { /* a sandbox that forbids it */
            memmove(to.iov_base, from.iov_base, to.iov_len);
            return true;
        }
        if (done <= 0)
            return false;
        to.iov_base = (char *)to.iov_base + done;
        from.iov_base = (char *)from.iov_base + done;
        to.iov_len = from.iov_len -= (size_t)done;
    }
    return true;
}

static bool copy_bytes(uint64_t dst, uint64_t src, uint64_t bytes, bool guarded)
{
    if (guarded)
        return copy_guarded(dst, src, bytes);
    memmove((void *)(uintptr_t)dst, (const void *)(uintptr_t)src, bytes);
    return true;
}

/* ---- copies ----------------------------------------------------------------------------------- */

/* Rows that follow one another without gaps are one long row. */
static void flatten(struct soft_box *box)
{
    if (box->height > 1 && box->dst_pitch == box->width && box->src_pitch == box->width &&
        (box->depth == 1 || (box->dst_slice == box->width * box->height && box->src_slice == box->dst_slice))) {
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

bool soft_box_run(const struct soft_op *op, uint64_t part)
{
    const struct soft_box *box = &op->box;
    uint64_t rows = box->height * box->depth;
    if (rows == 1) {
        uint64_t from = part * op->part_bytes;
        uint64_t bytes = box->width - from < op->part_bytes ? box->width - from : op->part_bytes;
        return copy_bytes(box->dst + from, box->src + from, bytes, box->guarded);
    }
    uint64_t row = part * op->part_bytes, end = row + op->part_bytes < rows ? row + op->part_bytes : rows;
    for (; row < end; row++) {
        uint64_t y = row % box->height, z = row / box->height;
        if (!copy_bytes(box->dst + z * box->dst_slice + y * box->dst_pitch,
                        box->src + z * box->src_slice + y * box->src_pitch, box->width, box->guarded))
            return false;
    }
    return true;
}

/* ---- fills ------------------------------------------------------------------------------------ */

void soft_fill_plan(struct soft_op *op)
{
    struct soft_fill *fill = &op->fill;
    if (fill->height > 1 && fill->pitch == fill->width) {
        fill->width *= fill->height;
        fill->height = 1;
    }
    uint64_t rows_per_part = fill->width && fill->width < CHUNK_BYTES ? CHUNK_BYTES / fill->width : 1;
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

static bool fill_bytes(uint64_t dst, uint64_t bytes, const struct soft_fill *fill, bool guarded)
{
    uint8_t *at = (uint8_t *)(uintptr_t)dst;
    uint8_t byte = (uint8_t)fill->value;
    bool uniform = fill->element_bytes == 1 ||
                   (fill->element_bytes == 2 && (fill->value & 0xffff) == byte * 0x101u) ||
                   (fill->element_bytes == 4 && fill->value == byte * 0x1010101u);
    if (guarded) {
        uint32_t pattern[1024];
        for (size_t i = 0; i < sizeof pattern; i += fill->element_bytes)
            memcpy((uint8_t *)pattern + i, &fill->value, fill->element_bytes);
        for (uint64_t done = 0; done < bytes; done += sizeof pattern) {
            uint64_t piece = bytes - done < sizeof pattern ? bytes - done : sizeof pattern;
            if (!copy_guarded(dst + done, (uint64_t)(uintptr_t)pattern, piece))
                return false;
        }
    } else if (uniform) {
        memset(at, byte, bytes);
    } else if (fill->element_bytes == 2) {
        for (uint64_t i = 0; i < bytes / 2; i++)
            ((uint16_t *)at)[i] = (uint16_t)fill->value;
    } else {
        for (uint64_t i = 0; i < bytes / 4; i++)
            ((uint32_t *)at)[i] = fill->value;
    }
    return true;
}

bool soft_fill_run(const struct soft_op *op, uint64_t part)
{
    const struct soft_fill *fill = &op->fill;
    if (fill->height == 1) {
        uint64_t from = part * op->part_bytes;
        uint64_t bytes = fill->width - from < op->part_bytes ? fill->width - from : op->part_bytes;
        return fill_bytes(fill->dst + from, bytes, fill, fill->guarded);
    }
    uint64_t row = part * op->part_bytes, end = row + op->part_bytes;
    for (; row < end && row < fill->height; row++)
        if (!fill_bytes(fill->dst + row * fill->pitch, fill->width, fill, fill->guarded))
            return false;
    return true;
}

/* ---- single values ---------------------------------------------------------------------------- */

bool soft_value_write(const struct soft_value *value)
{
    if (value->guarded)
        return copy_guarded(value->address, (uint64_t)(uintptr_t)&value->value, value->wide ? 8 : 4);
    if (value->wide)
        __atomic_store_n((uint64_t *)(uintptr_t)value->address, value->value, __ATOMIC_RELEASE);
    else
        __atomic_store_n((uint32_t *)(uintptr_t)value->address, (uint32_t)value->value, __ATOMIC_RELEASE);
    return true;
}

static bool compare(uint64_t found, const struct soft_value *value)
{
    uint64_t wanted = value->wide ? value->value : (uint32_t)value->value;
    switch (value->flags & 3u) {
    case CU_STREAM_WAIT_VALUE_GEQ: /* cyclic, as the driver defines it */
        return value->wide ? (int64_t)(found - wanted) >= 0 : (int32_t)(uint32_t)(found - wanted) >= 0;
    case CU_STREAM_WAIT_VALUE_EQ: return found == wanted;
    case CU_STREAM_WAIT_VALUE_AND: return (found & wanted) != 0;
    default: {
        uint64_t nor = ~(found | wanted);
        return (value->wide ? nor : (uint32_t)nor) != 0;
    }
    }
}

enum soft_await soft_value_reached(const struct soft_value *value)
{
    uint64_t found = 0;
    if (value->guarded) {
        if (!copy_guarded((uint64_t)(uintptr_t)&found, value->address, value->wide ? 8 : 4))
            return SOFT_AWAIT_BAD;
    } else if (value->wide) {
        found = __atomic_load_n((const uint64_t *)(uintptr_t)value->address, __ATOMIC_ACQUIRE);
    } else {
        found = __atomic_load_n((const uint32_t *)(uintptr_t)value->address, __ATOMIC_ACQUIRE);
    }
    return compare(found, value) ? SOFT_AWAIT_YES : SOFT_AWAIT_NO;
}
