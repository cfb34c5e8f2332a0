/* wmma: fragments between memory and lanes, and their products (daemon/softgpu/emit/wmma.py).
 *
 * A fragment is an array of words of 32 lanes each. Lane l holds elements l * n ... of its matrix,
 * row by row; A's rows and B's columns are rows of k elements. */
#include <math.h>
#include <string.h>

#include "block.h"
#include "half.h"

enum kind { F16, BF16, TF32, S8, U8, S4, U4, B1, F64, F32, S32 };
#define EDGE_MAX 32u
#define K_MAX 128u
#define REAL_K_MAX 16u

static const uint8_t bits_of[] = {16, 16, 32, 8, 8, 4, 4, 1, 64, 32, 32};

static uint64_t get(const uint32_t *words, uint32_t lane, uint32_t i, uint32_t bits)
{
    if (bits == 64)
        return words[2 * i * SOFT_LANES + lane] | (uint64_t)words[(2 * i + 1) * SOFT_LANES + lane]
                                                      << 32;
    uint32_t word = words[i * bits / 32 * SOFT_LANES + lane] >> i * bits % 32;
    return bits == 32 ? word : word & ((1u << bits) - 1);
}

static void put(uint32_t *words, uint32_t lane, uint32_t i, uint32_t bits, uint64_t value)
{
    if (bits == 64) {
        words[2 * i * SOFT_LANES + lane] = (uint32_t)value;
        words[(2 * i + 1) * SOFT_LANES + lane] = (uint32_t)(value >> 32);
        return;
    }
    uint32_t mask = bits == 32 ? ~0u : (1u << bits) - 1, shift = i * bits % 32;
    uint32_t *word = &words[i * bits / 32 * SOFT_LANES + lane];
    *word = (*word & ~(mask << shift)) | ((uint32_t)value & mask) << shift;
}

static void exchange(uint32_t *words, const uint32_t *shape, uint32_t element, uint8_t *at,
                     uint32_t shift, bool store)
{
    uint32_t each = shape[0] * shape[1] / SOFT_LANES, bits = shape[2],
             bytes = bits < 8 ? 1 : bits / 8;
    uint32_t held = shape[3] * 32 / bits; /* elements of a lane, of which some may be there twice */
    uint32_t lane = element / each, i = element % each;
    uint64_t value = 0;
    if (store) {
        value = get(words, lane, i, bits);
        memcpy(at, &value, bytes);
        return;
    }
    memcpy(&value, at, bytes);
    if (bits < 8)
        value = value >> shift & ((1u << bits) - 1);
    for (uint32_t j = i; j < held; j += each)
        put(words, lane, j, bits, value);
}

/* shape: rows, columns << 8, bits << 16, words << 24; how: by column, store << 1, space << 2.
 * stride: in elements, from a row, or column, to the next. Elements of one lie side by side. */
void soft_help_fragment(struct soft_warp *warp, uint32_t packed, uint32_t how, uint64_t address,
                        uint32_t stride, uint32_t *words)
{
    const uint32_t shape[] = {packed & 255, packed >> 8 & 255, packed >> 16 & 255, packed >> 24};
    uint32_t bits = shape[2], bytes = bits < 8 ? 1 : bits / 8;
    bool by_column = how & 1, store = how & 2;
    uint32_t lines = by_column ? shape[1] : shape[0], length = by_column ? shape[0] : shape[1];
    if (!store)
        memset(words, 0, shape[3] * SOFT_LANES * sizeof *words);
    for (uint32_t line = 0; line < lines; line++) {
        uint64_t from = (uint64_t)line * stride;
        uint64_t first = address + from * bits / 8, last = address + (from + length - 1) * bits / 8;
        uint8_t *at = soft_help_access(warp, first, bytes, how >> 2);
        if ((uint8_t *)soft_help_access(warp, last, bytes, how >> 2) != at + (last - first))
            soft_raise(warp->worker, CUDA_ERROR_ILLEGAL_ADDRESS, last);
        for (uint32_t i = 0; i < length; i++) {
            uint32_t element = by_column ? i * shape[1] + line : line * shape[1] + i;
            uint64_t bit = (from + i) * bits;
            exchange(words, shape, element, at + (bit / 8 - from * bits / 8), bit % 8, store);
        }
    }
}

static double real(enum kind kind, uint64_t bits)
{
    uint32_t word = (uint32_t)bits;
    float narrow;
    double wide;
    if (kind == F16)
        return soft_half_to_float((uint16_t)bits);
    if (kind == BF16)
        return soft_bfloat_to_float((uint16_t)bits);
    if (kind == F64) {
        memcpy(&wide, &bits, 8);
        return wide;
    }
    if (kind == TF32)
        word &= 0xffffe000u;
    memcpy(&narrow, &word, 4);
    return narrow;
}

static int64_t whole(enum kind kind, uint64_t bits)
{
    switch (kind) {
    case S8:
        return (int8_t)bits;
    case S4:
        return (int64_t)(bits & 7) - (int64_t)(bits & 8);
    case S32:
        return (int32_t)bits;
    default:
        return (int64_t)bits;
    }
}

static uint64_t real_bits(enum kind kind, double value)
{
    uint64_t bits = 0;
    float narrow = (float)value;
    if (kind == F64)
        memcpy(&bits, &value, 8);
    else if (kind == F16)
        bits = soft_float_to_half(narrow);
    else
        memcpy(&bits, &narrow, 4);
    return bits;
}

static uint64_t multiply_doubles(const uint64_t *a, const uint64_t *b, uint32_t depth,
                                 uint64_t start)
{
    double sum = real(F64, start);
    for (uint32_t k = 0; k < depth; k++)
        sum = fma(real(F64, a[k]), real(F64, b[k]), sum);
    return real_bits(F64, sum);
}

struct product {
    float left[EDGE_MAX][REAL_K_MAX], right[REAL_K_MAX][EDGE_MAX], sums[EDGE_MAX][EDGE_MAX];
};

/* Products of the narrow types are exact in a float: a multiplication and an addition are one
 * rounding. */
static void multiply_floats(struct product *p, uint32_t m, uint32_t n, uint32_t depth)
{
    for (uint32_t row = 0; row < m; row++)
        for (uint32_t k = 0; k < depth; k++) {
            float a = p->left[row][k];
            for (uint32_t column = 0; column < n; column += 8)
                for (uint32_t i = 0; i < 8; i++)
                    p->sums[row][column + i] += a * p->right[k][column + i];
        }
}

static void wmma_floats(const enum kind *kinds, uint32_t m, uint32_t n, uint32_t depth,
                        const uint32_t *a, const uint32_t *b, const uint32_t *c, uint32_t *d)
{
    struct product p;
    uint32_t of_a = m * depth / SOFT_LANES, of_b = n * depth / SOFT_LANES,
             of_c = m * n / SOFT_LANES;
    for (uint32_t lane = 0; lane < SOFT_LANES; lane++) {
        for (uint32_t i = 0, e = lane * of_a; i < of_a; i++, e++)
            p.left[e / depth][e % depth] =
                (float)real(kinds[1], get(a, lane, i, bits_of[kinds[1]]));
        for (uint32_t i = 0, e = lane * of_b; i < of_b; i++, e++)
            p.right[e % depth][e / depth] =
                (float)real(kinds[2], get(b, lane, i, bits_of[kinds[2]]));
        for (uint32_t i = 0, e = lane * of_c; i < of_c; i++, e++)
            p.sums[e / n][e % n] = (float)real(kinds[3], get(c, lane, i, bits_of[kinds[3]]));
    }
    multiply_floats(&p, m, n, depth);
    for (uint32_t lane = 0; lane < SOFT_LANES; lane++)
        for (uint32_t i = 0, e = lane * of_c; i < of_c; i++, e++)
            put(d, lane, i, bits_of[kinds[0]], real_bits(kinds[0], p.sums[e / n][e % n]));
}

static uint64_t multiply_whole(const enum kind *kinds, const uint64_t *a, const uint64_t *b,
                               uint32_t depth, uint64_t start, uint32_t code)
{
    int64_t sum = whole(S32, start);
    for (uint32_t k = 0; k < depth; k++) {
        if (kinds[1] == B1)
            sum += (int64_t)(code >> 17 & 1 ? a[k] & b[k] : a[k] ^ b[k]);
        else
            sum += whole(kinds[1], a[k]) * whole(kinds[2], b[k]);
    }
    if (code >> 16 & 1)
        sum = sum > INT32_MAX ? INT32_MAX : sum < INT32_MIN ? INT32_MIN : sum;
    return (uint32_t)sum;
}

static void unpack(uint64_t out[EDGE_MAX][K_MAX], const uint32_t *words, uint32_t rows,
                   uint32_t columns, enum kind kind)
{
    uint32_t each = rows * columns / SOFT_LANES;
    for (uint32_t lane = 0; lane < SOFT_LANES; lane++)
        for (uint32_t i = 0; i < each; i++)
            out[(lane * each + i) / columns][(lane * each + i) % columns] =
                get(words, lane, i, bits_of[kind]);
}

/* code: kinds of D, A, B, C in 4 bits each, satfinite << 16, and instead of xor << 17.
 * shape: m, n << 8, k << 16. */
void soft_help_wmma(uint32_t code, uint32_t shape, const uint32_t *a, const uint32_t *b,
                    const uint32_t *c, uint32_t *d)
{
    uint64_t left[EDGE_MAX][K_MAX], right[EDGE_MAX][K_MAX];
    enum kind kinds[4];
    for (uint32_t i = 0; i < 4; i++)
        kinds[i] = code >> 4 * i & 15;
    uint32_t m = shape & 255, n = shape >> 8 & 255, depth = shape >> 16, each = m * n / SOFT_LANES;
    if (kinds[1] <= TF32) {
        wmma_floats(kinds, m, n, depth, a, b, c, d);
        return;
    }
    unpack(left, a, m, depth, kinds[1]);
    unpack(right, b, n, depth, kinds[2]);
    for (uint32_t lane = 0; lane < SOFT_LANES; lane++) {
        for (uint32_t i = 0; i < each; i++) {
            uint32_t row = (lane * each + i) / n, column = (lane * each + i) % n;
            uint64_t start = get(c, lane, i, bits_of[kinds[3]]);
            uint64_t sum =
                kinds[1] == F64
                    ? multiply_doubles(left[row], right[column], depth, start)
                    : multiply_whole(kinds, left[row], right[column], depth, start, code);
            put(d, lane, i, bits_of[kinds[0]], sum);
        }
    }
}
