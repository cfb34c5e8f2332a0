#include "engine/launch/transfer.h"

#define PART_BYTES (64u << 10) /* of a long row; a multiple of every element */

uint64_t transfer_bytes(const struct transfer *transfer)
{
    return transfer->width * transfer->height * transfer->depth;
}

static uint64_t parts_of_row(const struct transfer *transfer)
{
    return (transfer->width + PART_BYTES - 1) / PART_BYTES;
}

uint32_t transfer_blocks(const struct transfer *transfer)
{
    uint64_t rows = transfer->height * transfer->depth, parts = 0;
    if (__builtin_mul_overflow(rows, parts_of_row(transfer), &parts) || parts > INT32_MAX)
        return 1;
    return (uint32_t)parts;
}

static uint64_t at(const struct transfer_end *end, uint64_t row, uint64_t slice, uint64_t column)
{
    return end->address + row * end->pitch + slice * end->slice + column;
}

struct transfer_piece transfer_piece_at(const struct transfer *transfer, uint32_t lo, uint32_t hi)
{
    uint64_t parts = parts_of_row(transfer), row = lo / parts, column = lo % parts * PART_BYTES;
    uint64_t slice = row / transfer->height, count = hi - lo;
    struct transfer_piece piece = {.width = transfer->width, .height = 1, .depth = 1};
    row %= transfer->height;
    if (parts > 1) {
        uint64_t left = parts - lo % parts;
        count = count < left ? count : left;
        piece.width = count * PART_BYTES < transfer->width - column ? count * PART_BYTES
                                                                    : transfer->width - column;
    } else if (row == 0 && count >= transfer->height) {
        piece.height = transfer->height;
        piece.depth = count / transfer->height;
        count = piece.height * piece.depth;
    } else {
        count = count < transfer->height - row ? count : transfer->height - row;
        piece.height = count;
    }
    piece.dst = at(&transfer->dst, row, slice, column);
    piece.src = at(&transfer->src, row, slice, column);
    piece.end = lo + (uint32_t)count;
    return piece;
}

struct transfer_piece transfer_whole(const struct transfer *transfer, uint32_t end)
{
    return (struct transfer_piece){
        .dst = transfer->dst.address,
        .src = transfer->src.address,
        .width = transfer->width,
        .height = transfer->height,
        .depth = transfer->depth,
        .end = end,
    };
}
