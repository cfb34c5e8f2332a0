/* LZ4 block format (github.com/lz4/lz4, doc/lz4_Block_format.md): sequences of literals and a
 * match. */
#include <string.h>

#include "image.h"

/* A 4-bit length, continued in bytes while they are 255. False: the input ends early. */
static bool read_length(const uint8_t **src, const uint8_t *end, size_t *length)
{
    if (*length != 15)
        return true;
    uint8_t more;
    do {
        if (*src == end)
            return false;
        more = *(*src)++;
        *length += more;
    } while (more == 255);
    return true;
}

bool soft_lz4(const uint8_t *src, size_t src_bytes, uint8_t *dst, size_t dst_bytes)
{
    const uint8_t *end = src + src_bytes;
    size_t out = 0;
    while (src < end) {
        uint8_t token = *src++;
        size_t literals = token >> 4, match = token & 15;
        if (!read_length(&src, end, &literals) || literals > (size_t)(end - src) ||
            literals > dst_bytes - out)
            return false;
        memcpy(dst + out, src, literals);
        src += literals;
        out += literals;
        if (src == end)
            break; /* the last sequence has no match */
        if (end - src < 2)
            return false;
        size_t distance = src[0] | (size_t)src[1] << 8;
        src += 2;
        if (!read_length(&src, end, &match))
            return false;
        match += 4;
        if (distance == 0 || distance > out || match > dst_bytes - out)
            return false;
        for (size_t i = 0; i < match; i++, out++) /* may overlap itself */
            dst[out] = dst[out - distance];
    }
    return out == dst_bytes;
}
