/* Matrix instructions of a warp: mma.sync of the m16n8 shapes, and ldmatrix.
 *
 * Fragments (PTX ISA, "Matrix Fragments for mma"): lane l has group g = l / 4 and place t = l % 4.
 * A register holds P elements; a block of 4P columns (of k) lies over the four places. Register r
 * of A: row g + 8 (r & 1), columns 4P (r >> 1) + t P ...; register r of B: rows 4P r + t P ...,
 * column g; element i of C: row g + 8 (i >> 1), column 2t + (i & 1). */
#include <math.h>
#include <string.h>

#include "block.h"
#include "half.h"

enum element { E_F16, E_BF16, E_TF32, E_S8, E_U8 };
#define ROWS 16u
#define COLUMNS 8u
#define K_MAX 32u

struct tile {
    float a[ROWS][K_MAX], b[K_MAX][COLUMNS];
    int32_t ia[ROWS][K_MAX], ib[K_MAX][COLUMNS];
};

static float real(enum element kind, uint32_t word, uint32_t i)
{
    uint16_t half = (uint16_t)(word >> 16 * i);
    float value;
    if (kind == E_F16)
        return soft_half_to_float(half);
    if (kind == E_BF16)
        return soft_bfloat_to_float(half);
    word &= 0xffffe000u; /* tf32 */
    memcpy(&value, &word, 4);
    return value;
}

static int32_t whole(enum element kind, uint32_t word, uint32_t i)
{
    uint32_t byte = word >> 8 * i & 255;
    return kind == E_S8 ? (int8_t)byte : (int32_t)byte;
}

static uint32_t elements(enum element kind) { return kind == E_TF32 ? 1 : kind >= E_S8 ? 4 : 2; }

static void unpack(struct tile *tile, enum element ka, enum element kb, uint32_t registers,
                   const uint32_t *a, const uint32_t *b)
{
    uint32_t per = elements(ka);
    for (uint32_t lane = 0; lane < SOFT_LANES; lane++) {
        uint32_t g = lane / 4, t = lane % 4;
        for (uint32_t r = 0; r < registers; r++)
            for (uint32_t i = 0; i < per; i++) {
                uint32_t row = g + 8 * (r & 1), k = 4 * per * (r >> 1) + t * per + i;
                uint32_t word = a[r * SOFT_LANES + lane];
                if (ka >= E_S8)
                    tile->ia[row][k] = whole(ka, word, i);
                else
                    tile->a[row][k] = real(ka, word, i);
            }
        for (uint32_t r = 0; r < registers / 2; r++)
            for (uint32_t i = 0; i < per; i++) {
                uint32_t k = 4 * per * r + t * per + i, word = b[r * SOFT_LANES + lane];
                if (kb >= E_S8)
                    tile->ib[k][g] = whole(kb, word, i);
                else
                    tile->b[k][g] = real(kb, word, i);
            }
    }
}

static float multiply(const struct tile *tile, uint32_t row, uint32_t column, uint32_t depth,
                      float sum)
{
    for (uint32_t k = 0; k < depth; k++)
        sum = fmaf(tile->a[row][k], tile->b[k][column], sum);
    return sum;
}

static uint32_t multiply_whole(const struct tile *tile, uint32_t row, uint32_t column,
                               uint32_t depth, uint32_t sum)
{
    for (uint32_t k = 0; k < depth; k++)
        sum += (uint32_t)(tile->ia[row][k] * tile->ib[k][column]);
    return sum;
}

/* code: element of A, of B << 4, registers of A << 8, C and D are f16 << 16, << 17.
 * Registers are arrays of 32 words, one after the other. */
void soft_help_mma(uint32_t code, const uint32_t *a, const uint32_t *b, const uint32_t *c,
                   uint32_t *d)
{
    enum element ka = code & 15, kb = code >> 4 & 15;
    uint32_t registers = code >> 8 & 255, depth = 2 * elements(ka) * registers;
    bool narrow_c = code >> 16 & 1, narrow_d = code >> 17 & 1;
    struct tile tile;
    unpack(&tile, ka, kb, registers, a, b);
    for (uint32_t lane = 0; lane < SOFT_LANES; lane++) {
        for (uint32_t i = 0; i < 4; i++) {
            uint32_t row = lane / 4 + 8 * (i >> 1), column = 2 * (lane % 4) + (i & 1);
            uint32_t word = c[(narrow_c ? i / 2 : i) * SOFT_LANES + lane];
            if (ka >= E_S8) {
                d[i * SOFT_LANES + lane] = multiply_whole(&tile, row, column, depth, word);
                continue;
            }
            float sum;
            if (narrow_c)
                sum = soft_half_to_float((uint16_t)(word >> 16 * (i & 1)));
            else
                memcpy(&sum, &word, 4);
            sum = multiply(&tile, row, column, depth, sum);
            if (narrow_d) {
                uint32_t half = (uint32_t)soft_float_to_half(sum) << 16 * (i & 1);
                uint32_t *out = &d[i / 2 * SOFT_LANES + lane];
                *out = i & 1 ? *out | half : half;
            } else {
                memcpy(&d[i * SOFT_LANES + lane], &sum, 4);
            }
        }
    }
}

/* Matrix m's rows lie at the addresses of lanes 8m to 8m + 7. */
void soft_help_ldmatrix(struct soft_warp *warp, const uint64_t *address, uint32_t *out,
                        uint32_t count, uint32_t transposed, uint32_t space)
{
    for (uint32_t m = 0; m < count; m++) {
        uint16_t rows[8][8];
        for (uint32_t row = 0; row < 8; row++)
            memcpy(rows[row], soft_help_access(warp, address[8 * m + row], 16, space), 16);
        for (uint32_t lane = 0; lane < SOFT_LANES; lane++) {
            uint32_t g = lane / 4, t = 2 * (lane % 4);
            uint32_t low = transposed ? rows[t][g] : rows[g][t];
            uint32_t high = transposed ? rows[t + 1][g] : rows[g][t + 1];
            out[m * SOFT_LANES + lane] = low | high << 16;
        }
    }
}
