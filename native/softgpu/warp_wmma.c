/* wmma: fragments between memory and lanes, and their products (daemon/softgpu/emit_wmma.py).
 *
 * A fragment is an array of words of 32 lanes each. Lane l holds elements l * n ... of its matrix, row
 * by row; A's rows and B's columns are rows of k elements. */
#include <math.h>
#include <string.h>

#include "block.h"
#include "half.h"

enum kind { F16, BF16, TF32, S8, U8, S4, U4, B1, F64, F32, S32 };
#define EDGE_MAX 32u
#define K_MAX 128u

static const uint8_t bits_of[] = {16, 16, 32, 8, 8, 4, 4, 1, 64, 32, 32};

static uint64_t get(const uint32_t *words, uint32_t lane, uint32_t i, uint32_t bits) {
    if (bits == 64)
        return words[2 * i * SOFT_LANES + lane] | (uint64_t)words[(2 * i + 1) * SOFT_LANES + lane] << 32;
    uint32_t word = words[i * bits / 32 * SOFT_LANES + lane] >> i * bits % 32;
    return bits == 32 ? word : word & ((1u << bits) - 1);
}

static void put(uint32_t *words, uint32_t lane, uint32_t i, uint32_t bits, uint64_t value) {
    if (bits == 64) {
        words[2 * i * SOFT_LANES + lane] = (uint32_t)value;
        words[(2 * i + 1) * SOFT_LANES + lane] = (uint32_t)(value >> 32);
        return;
    }
    uint32_t mask = bits == 32 ? ~0u : (1u << bits) - 1, shift = i * bits % 32;
    uint32_t *word = &words[i * bits / 32 * SOFT_LANES + lane];
    *word = (*word & ~(mask << shift)) | ((uint32_t)value & mask) << shift;
}

/* shape: rows, columns << 8, bits << 16, words << 24; how: by column, store << 1, space << 2.
 * stride: in elements, from a row, or column, to the next. */
void soft_help_fragment(struct soft_warp *warp, uint32_t shape, uint32_t how, uint64_t address, uint32_t stride,
                        uint32_t *words) {
    uint32_t rows = shape & 255, columns = shape >> 8 & 255, bits = shape >> 16 & 255, room = shape >> 24;
    uint32_t each = rows * columns / SOFT_LANES, bytes = bits < 8 ? 1 : bits / 8;
    uint32_t held = room * 32 / bits; /* elements of a lane, of which some may be there twice */
    if (!(how & 2)) memset(words, 0, room * SOFT_LANES * sizeof *words);
    for (uint32_t lane = 0; lane < SOFT_LANES; lane++) {
        for (uint32_t i = 0; i < each; i++) {
            uint32_t row = (lane * each + i) / columns, column = (lane * each + i) % columns;
            uint64_t index = how & 1 ? (uint64_t)column * stride + row : (uint64_t)row * stride + column;
            uint64_t value = 0;
            uint8_t *at = soft_help_access(warp, address + index * bits / 8, bytes, how >> 2);
            if (how & 2) {
                value = get(words, lane, i, bits);
                memcpy(at, &value, bytes);
                continue;
            }
            memcpy(&value, at, bytes);
            if (bits < 8) value = value >> index * bits % 8 & ((1u << bits) - 1);
            for (uint32_t j = i; j < held; j += each) put(words, lane, j, bits, value);
        }
    }
}

static double real(enum kind kind, uint64_t bits) {
    uint32_t word = (uint32_t)bits;
    float narrow;
    double wide;
    if (kind == F16) return soft_half_to_float((uint16_t)bits);
    if (kind == BF16) return soft_bfloat_to_float((uint16_t)bits);
    if (kind == F64) {
        memcpy(&wide, &bits, 8);
        return wide;
    }
    if (kind == TF32) word &= 0xffffe000u;
    memcpy(&narrow, &word, 4);
    return narrow;
}

static int64_t whole(enum kind kind, uint64_t bits) {
    switch (kind) {
    case S8: return (int8_t)bits;
    case S4: return (int64_t)(bits & 7) - (int64_t)(bits & 8);
    case S32: return (int32_t)bits;
    default: return (int64_t)bits;
    }
}

static uint64_t real_bits(enum kind kind, double value) {
    uint64_t bits = 0;
    float narrow = (float)value;
    if (kind == F64) memcpy(&bits, &value, 8);
    else if (kind == F16) bits = soft_float_to_half(narrow);
    else memcpy(&bits, &narrow, 4);
    return bits;
}

static uint64_t multiply_real(const enum kind *kinds, const uint64_t *a, const uint64_t *b, uint32_t depth,
                              uint64_t start) {
    double sum = real(kinds[3], start);
    float narrow = (float)sum;
    for (uint32_t k = 0; k < depth; k++) {
        double x = real(kinds[1], a[k]), y = real(kinds[2], b[k]);
        if (kinds[0] == F64) sum = fma(x, y, sum);
        else narrow = fmaf((float)x, (float)y, narrow);
    }
    return real_bits(kinds[0], kinds[0] == F64 ? sum : narrow);
}

static uint64_t multiply_whole(const enum kind *kinds, const uint64_t *a, const uint64_t *b, uint32_t depth,
                               uint64_t start, uint32_t code) {
    int64_t sum = whole(S32, start);
    for (uint32_t k = 0; k < depth; k++) {
        if (kinds[1] == B1) sum += (int64_t)(code >> 17 & 1 ? a[k] & b[k] : a[k] ^ b[k]);
        else sum += whole(kinds[1], a[k]) * whole(kinds[2], b[k]);
    }
    if (code >> 16 & 1) sum = sum > INT32_MAX ? INT32_MAX : sum < INT32_MIN ? INT32_MIN : sum;
    return (uint32_t)sum;
}

static void unpack(uint64_t out[EDGE_MAX][K_MAX], const uint32_t *words, uint32_t rows, uint32_t columns,
                   enum kind kind) {
    uint32_t each = rows * columns / SOFT_LANES;
    for (uint32_t lane = 0; lane < SOFT_LANES; lane++)
        for (uint32_t i = 0; i < each; i++)
            out[(lane * each + i) / columns][(lane * each + i) % columns] = get(words, lane, i, bits_of[kind]);
}

/* code: kinds of D, A, B, C in 4 bits each, satfinite << 16, and instead of xor << 17.
 * shape: m, n << 8, k << 16. */
void soft_help_wmma(uint32_t code, uint32_t shape, const uint32_t *a, const uint32_t *b, const uint32_t *c,
                    uint32_t *d) {
    uint64_t left[EDGE_MAX][K_MAX], right[EDGE_MAX][K_MAX];
    enum kind kinds[4];
    for (uint32_t i = 0; i < 4; i++) kinds[i] = code >> 4 * i & 15;
    uint32_t m = shape & 255, n = shape >> 8 & 255, depth = shape >> 16, each = m * n / SOFT_LANES;
    bool integers = kinds[1] >= S8 && kinds[1] <= B1;
    unpack(left, a, m, depth, kinds[1]);
    unpack(right, b, n, depth, kinds[2]);
    for (uint32_t lane = 0; lane < SOFT_LANES; lane++) {
        for (uint32_t i = 0; i < each; i++) {
            uint32_t row = (lane * each + i) / n, column = (lane * each + i) % n;
            uint64_t start = get(c, lane, i, bits_of[kinds[3]]);
            uint64_t sum = integers ? multiply_whole(kinds, left[row], right[column], depth, start, code)
                                    : multiply_real(kinds, left[row], right[column], depth, start);
            put(d, lane, i, bits_of[kinds[0]], sum);
        }
    }
}
