/* How bytes travel:
 *   device/pinned <-> device/pinned   one op with addresses; the executor sees both
 *   pageable -> device                in the message up to TALLY_INLINE_BYTES_MAX, else through
 * slots device -> pageable                through slots, several calls under way, so that the
 * executor fills one slot while this thread empties another Where a side is memory of another
 * device than the stream's: copy_across.c. A box that does not fit a slot goes in pieces of whole
 * rows, or of parts of one row. */
#include "copy.h"

#include <string.h>

#include "memory.h"
#include "stream_work.h"

#define DOWNLOADS_MAX (TALLY_SLOTS_MAX / 2)

enum place { PLACE_DEVICE, PLACE_PINNED, PLACE_PAGEABLE };

struct piece {
    uint64_t x, y, z; /* of its first byte, in the box */
    uint64_t width, rows;
};

/* ---- where the two sides lie ---------------------------------------------------------------- */

/* The number of bytes from a side's first to behind its last; false if that overflows. */
static bool extent(const struct shim_side *side, const struct shim_box *box, uint64_t *bytes)
{
    uint64_t rows, slices;
    return !__builtin_mul_overflow(box->height - 1, side->pitch, &rows) &&
           !__builtin_mul_overflow(box->depth - 1, side->slice, &slices) &&
           !__builtin_add_overflow(rows, slices, bytes) &&
           !__builtin_add_overflow(*bytes, box->width, bytes);
}

/* `owner`: the channel of device memory, else NULL. Another device's pinned memory is pageable to
 * this one. */
static CUresult locate(const struct shim_channel *channel, const struct shim_side *side,
                       const struct shim_box *box, enum place *place, struct shim_channel **owner)
{
    *owner = NULL;
    uint64_t bytes;
    if (!side->address || !extent(side, box, &bytes))
        return CUDA_ERROR_INVALID_VALUE;
    struct shim_range range;
    if (!shim_range_find(side->address, &range)) {
        *place = PLACE_PAGEABLE;
        bool device = side->claim == SHIM_SIDE_DEVICE || shim_is_device_address(side->address);
        return device ? CUDA_ERROR_INVALID_VALUE : CUDA_SUCCESS;
    }
    bool pinned = range.kind == SHIM_RANGE_PINNED, own = range.channel == channel;
    *place = !pinned ? PLACE_DEVICE : own ? PLACE_PINNED : PLACE_PAGEABLE;
    *owner = pinned ? NULL : range.channel;
    bool inside = bytes <= range.bytes - (side->address - range.base);
    return inside ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

/* Fewer dimensions where rows or slices touch: most copies are one row in the end. */
static void collapse(struct shim_side *dst, struct shim_side *src, struct shim_box *box)
{
    if (box->height > 1 && dst->pitch == box->width && src->pitch == box->width) {
        uint64_t slice = box->width * box->height;
        bool touching = box->depth == 1 || (dst->slice == slice && src->slice == slice);
        box->width = touching ? slice * box->depth : slice;
        box->height = 1;
        if (touching)
            box->depth = 1;
    }
    if (box->height == 1 && box->depth > 1) { /* slices of one row are rows */
        box->height = box->depth;
        box->depth = 1;
        dst->pitch = dst->slice;
        src->pitch = src->slice;
    }
    if (box->height == 1)
        dst->pitch = src->pitch = box->width;
    if (box->depth == 1) {
        dst->slice = dst->pitch * box->height;
        src->slice = src->pitch * box->height;
    }
}

/* ---- pieces --------------------------------------------------------------------------------- */

/* The piece that starts at (x, y, z) of the cursor, of at most `limit` bytes; then moves the
 * cursor. */
static struct piece next_piece(struct piece *cursor, const struct shim_box *box, uint64_t limit)
{
    struct piece piece = *cursor;
    if (box->width <= limit) {
        uint64_t rows = limit / box->width;
        uint64_t left = box->height - cursor->y;
        piece.width = box->width;
        piece.rows = rows < left ? rows : left;
        cursor->y += piece.rows;
    } else {
        uint64_t left = box->width - cursor->x;
        piece.width = left < limit ? left : limit;
        piece.rows = 1;
        cursor->x += piece.width;
        if (cursor->x == box->width)
            cursor->x = 0, cursor->y++;
    }
    if (cursor->y == box->height)
        cursor->y = 0, cursor->z++;
    return piece;
}

static uint64_t piece_address(const struct shim_side *side, const struct piece *piece)
{
    return side->address + piece->z * side->slice + piece->y * side->pitch + piece->x;
}

static void copy_rows(void *dst, uint64_t dst_pitch, const void *src, uint64_t src_pitch,
                      uint64_t width, uint64_t rows)
{
    if (dst_pitch == width && src_pitch == width) {
        memcpy(dst, src, width * rows);
        return;
    }
    for (uint64_t row = 0; row < rows; row++)
        memcpy((char *)dst + row * dst_pitch, (const char *)src + row * src_pitch, width);
}

/* ---- ops ------------------------------------------------------------------------------------ */

static struct tally_op_copy copy_op(const struct shim_stream_ref *ref, const struct shim_box *box)
{
    return (struct tally_op_copy){
        .op.code = TALLY_OP_COPY,
        .stream = ref->wire,
        .width = box->width,
        .height = box->height,
        .depth = box->depth,
    };
}

static void set_dst(struct tally_op_copy *op, enum tally_place place, uint64_t address,
                    uint64_t pitch, uint64_t slice)
{
    op->dst_place = (uint16_t)place;
    op->dst = address;
    op->dst_pitch = pitch;
    op->dst_slice = slice;
}

static void set_src(struct tally_op_copy *op, enum tally_place place, uint64_t address,
                    uint64_t pitch, uint64_t slice)
{
    op->src_place = (uint16_t)place;
    op->src = address;
    op->src_pitch = pitch;
    op->src_slice = slice;
}

static enum tally_place wire_place(enum place place)
{
    return place == PLACE_PINNED ? TALLY_PLACE_PINNED : TALLY_PLACE_DEVICE;
}

/* Both sides are the executor's. `wait`: it has to have happened on return. */
static CUresult copy_direct(const struct shim_stream_ref *ref, const struct shim_side *dst,
                            enum place dst_place, const struct shim_side *src, enum place src_place,
                            const struct shim_box *box, bool wait)
{
    struct tally_op_copy op = copy_op(ref, box);
    set_dst(&op, wire_place(dst_place), dst->address, dst->pitch, dst->slice);
    set_src(&op, wire_place(src_place), src->address, src->pitch, src->slice);
    if (!wait)
        return shim_stream_submit(ref, &(struct shim_work){SHIM_WORK(op)});
    struct tally_reply reply;
    struct shim_call call = {.reply = &reply, .reply_bytes = sizeof reply, .leavable = true};
    return shim_stream_submit_sync(ref, &(struct shim_work){SHIM_WORK(op), .call = &call});
}

static CUresult upload_inline(const struct shim_stream_ref *ref, const struct shim_side *dst,
                              enum place dst_place, const struct shim_side *src,
                              const struct shim_box *box, bool wait)
{
    uint8_t packed[TALLY_INLINE_BYTES_MAX];
    const void *bytes = (const void *)(uintptr_t)src->address;
    uint64_t slice = box->width * box->height;
    if (box->height > 1 || box->depth > 1) {
        for (uint64_t z = 0; z < box->depth; z++)
            copy_rows(packed + z * slice, box->width, (const char *)bytes + z * src->slice,
                      src->pitch, box->width, box->height);
        bytes = packed;
    }
    struct tally_op_copy op = copy_op(ref, box);
    set_dst(&op, wire_place(dst_place), dst->address, dst->pitch, dst->slice);
    set_src(&op, TALLY_PLACE_INLINE, 0, box->width, slice);
    struct shim_work work = {SHIM_WORK(op), .tail = bytes, .tail_bytes = slice * box->depth};
    if (!wait)
        return shim_stream_submit(ref, &work);
    struct tally_reply reply;
    struct shim_call call = {.reply = &reply, .reply_bytes = sizeof reply};
    work.call = &call;
    return shim_stream_submit_sync(ref, &work);
}

/* The last piece of a synchronous copy is a call: on return the bytes are there for other
 * streams too. */
static CUresult upload_piece(const struct shim_stream_ref *ref, const struct shim_side *dst,
                             enum place dst_place, const struct shim_side *src,
                             const struct piece *piece, bool call)
{
    struct shim_slot slot;
    CUresult result = shim_slot_take(ref->channel, true, &slot);
    if (result)
        return result;
    copy_rows(slot.bytes, piece->width, (const void *)(uintptr_t)piece_address(src, piece),
              src->pitch, piece->width, piece->rows);
    struct shim_box box = {piece->width, piece->rows, 1};
    struct tally_op_copy op = copy_op(ref, &box);
    set_dst(&op, wire_place(dst_place), piece_address(dst, piece), dst->pitch, dst->slice);
    set_src(&op, TALLY_PLACE_SLOT, slot.offset, piece->width, piece->width * piece->rows);
    op.slot = slot.index;
    op.slot_sequence = slot.sequence;
    struct tally_reply reply;
    struct shim_call under_way = {.reply = &reply, .reply_bytes = sizeof reply};
    result = shim_stream_submit(
        ref, &(struct shim_work){SHIM_WORK(op), .call = call ? &under_way : NULL});
    shim_slot_give(ref->channel, &slot, result == CUDA_SUCCESS);
    if (result || !call)
        return result;
    result = shim_call_end(ref->channel, &under_way);
    CUresult earlier = shim_take_async_error(ref->channel);
    return earlier ? earlier : result;
}

static CUresult upload(const struct shim_stream_ref *ref, const struct shim_side *dst,
                       enum place dst_place, const struct shim_side *src,
                       const struct shim_box *box, bool sync, bool wait)
{
    uint64_t total;
    bool fits = !__builtin_mul_overflow(box->width * box->height, box->depth, &total);
    if (fits && total <= TALLY_INLINE_BYTES_MAX)
        return upload_inline(ref, dst, dst_place, src, box, wait);
    struct piece cursor = {0};
    while (cursor.z < box->depth) {
        struct piece piece = next_piece(&cursor, box, shim_slot_bytes(ref->channel));
        bool last = cursor.z == box->depth;
        CUresult result = upload_piece(ref, dst, dst_place, src, &piece, (sync || wait) && last);
        if (result)
            return result;
    }
    return CUDA_SUCCESS;
}

/* ---- device to pageable --------------------------------------------------------------------- */

struct download {
    struct shim_call call;
    struct tally_reply reply;
    struct shim_slot slot;
    struct piece piece;
};

static CUresult begin_download(const struct shim_stream_ref *ref, const struct shim_side *src,
                               enum place src_place, struct download *download, bool wait)
{
    CUresult result = shim_slot_take(ref->channel, wait, &download->slot);
    if (result)
        return result;
    const struct piece *piece = &download->piece;
    struct shim_box box = {piece->width, piece->rows, 1};
    struct tally_op_copy op = copy_op(ref, &box);
    set_dst(&op, TALLY_PLACE_SLOT, download->slot.offset, piece->width, piece->width * piece->rows);
    set_src(&op, wire_place(src_place), piece_address(src, piece), src->pitch, src->slice);
    op.slot = download->slot.index;
    op.slot_sequence = download->slot.sequence;
    download->call =
        (struct shim_call){.reply = &download->reply, .reply_bytes = sizeof download->reply};
    result = shim_stream_submit(ref, &(struct shim_work){SHIM_WORK(op), .call = &download->call});
    if (result)
        shim_slot_give(ref->channel, &download->slot, false);
    return result;
}

static CUresult end_download(const struct shim_stream_ref *ref, const struct shim_side *dst,
                             struct download *download)
{
    CUresult result = shim_call_end(ref->channel, &download->call);
    const struct piece *piece = &download->piece;
    if (!result)
        copy_rows((void *)(uintptr_t)piece_address(dst, piece), dst->pitch, download->slot.bytes,
                  piece->width, piece->width, piece->rows);
    shim_slot_give(ref->channel, &download->slot, true);
    return result;
}

/* Several pieces are under way at once; they end in the order in which they began. After an error
 * no more begin. A thread waits for a slot only while it holds none: two threads that each hold
 * some could otherwise wait for each other. */
static CUresult download(const struct shim_stream_ref *ref, const struct shim_side *dst,
                         const struct shim_side *src, enum place src_place,
                         const struct shim_box *box)
{
    struct download under_way[DOWNLOADS_MAX];
    uint32_t window = shim_slot_count(ref->channel) / 2;
    window = window ? window : 1;
    uint64_t first = 0, next = 0; /* under way: [first, next) */
    struct piece cursor = {0};
    CUresult result = CUDA_SUCCESS;
    bool more = true;
    while (more || first < next) {
        bool blocked = false;
        if (more && next - first < window) {
            struct download *download = &under_way[next % window];
            struct piece ahead = cursor;
            download->piece = next_piece(&ahead, box, shim_slot_bytes(ref->channel));
            CUresult started = begin_download(ref, src, src_place, download, first == next);
            blocked = started == CUDA_ERROR_NOT_READY;
            if (!started) {
                next++;
                cursor = ahead;
            } else if (!blocked && !result) {
                result = started;
            }
            more = !result && cursor.z < box->depth;
            if (!blocked)
                continue;
        }
        if (first < next) {
            CUresult ended = end_download(ref, dst, &under_way[first++ % window]);
            if (ended && !result)
                result = ended;
            more = more && !result;
        }
    }
    CUresult earlier = shim_take_async_error(ref->channel);
    return earlier ? earlier : result;
}

/* ---- the engine ----------------------------------------------------------------------------- */

/* Pageable to pageable: no device in it, but it has its place in the stream's order. */
static CUresult copy_host(const struct shim_stream_ref *ref, const struct shim_side *dst,
                          const struct shim_side *src, const struct shim_box *box)
{
    CUresult result = shim_stream_wait(ref);
    for (uint64_t z = 0; z < box->depth && !result; z++)
        copy_rows((char *)(uintptr_t)dst->address + z * dst->slice, dst->pitch,
                  (const char *)(uintptr_t)src->address + z * src->slice, src->pitch, box->width,
                  box->height);
    return result;
}

CUresult shim_copy(const struct shim_stream_ref *ref, struct shim_side dst, struct shim_side src,
                   struct shim_box box, bool sync)
{
    if (!box.width || !box.height || !box.depth)
        return shim_channel_check(ref->channel);
    enum place dst_place, src_place;
    struct shim_channel *dst_owner, *src_owner;
    CUresult result = locate(ref->channel, &dst, &box, &dst_place, &dst_owner);
    if (!result)
        result = locate(ref->channel, &src, &box, &src_place, &src_owner);
    if (result)
        return result;
    if ((dst_owner && dst_owner != ref->channel) || (src_owner && src_owner != ref->channel))
        return shim_copy_across(ref, dst, dst_owner, src, src_owner, box);
    /* NVIDIA, "API synchronization behavior": from host memory to host memory every copy has
     * happened on return, the asynchronous ones too; between device addresses even a synchronous
     * one need not have. */
    bool host_only = dst_place != PLACE_DEVICE && src_place != PLACE_DEVICE;
    bool wait =
        host_only || (sync && (shim_memory_waits(dst.address) || shim_memory_waits(src.address)));
    collapse(&dst, &src, &box);
    if (dst_place == PLACE_PAGEABLE && src_place == PLACE_PAGEABLE)
        return copy_host(ref, &dst, &src, &box);
    if (dst_place == PLACE_PAGEABLE)
        return download(ref, &dst, &src, src_place, &box);
    if (src_place == PLACE_PAGEABLE)
        return upload(ref, &dst, dst_place, &src, &box, sync, wait);
    return copy_direct(ref, &dst, dst_place, &src, src_place, &box, wait);
}

CUresult shim_copy_linear(const struct shim_stream_ref *ref, uint64_t dst,
                          enum shim_side_claim dst_claim, uint64_t src,
                          enum shim_side_claim src_claim, uint64_t bytes, bool sync)
{
    struct shim_side dst_side = {
        .address = dst, .pitch = bytes, .slice = bytes, .claim = dst_claim};
    struct shim_side src_side = {
        .address = src, .pitch = bytes, .slice = bytes, .claim = src_claim};
    return shim_copy(ref, dst_side, src_side, (struct shim_box){bytes, 1, 1}, sync);
}
