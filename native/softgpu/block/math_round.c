/* Arithmetic with a rounding direction, and 64-bit division: rare, so one lane at a time, by the
 * CPU itself. */
#include <fenv.h>
#include <math.h>
#include <string.h>

#include "block.h"

/* This file changes the rounding mode: nothing may be folded or moved across that. */
#pragma GCC optimize("rounding-math", "trapping-math")

enum round_op { ADD, SUB, MUL, DIV, FMA, SQRT, NARROW, FROM_S64, FROM_U64 };

static int direction(uint32_t code)
{
    static const int modes[] = {FE_TONEAREST, FE_TOWARDZERO, FE_DOWNWARD, FE_UPWARD};
    return modes[code & 3];
}

static float float_op(enum round_op op, float a, float b, float c)
{
    volatile float x = a, y = b, z = c, r;
    switch (op) {
    case ADD:
        r = x + y;
        break;
    case SUB:
        r = x - y;
        break;
    case MUL:
        r = x * y;
        break;
    case DIV:
        r = x / y;
        break;
    case FMA:
        r = fmaf(x, y, z);
        break;
    default:
        r = sqrtf(x);
        break;
    }
    return r;
}

static double double_op(enum round_op op, double a, double b, double c)
{
    volatile double x = a, y = b, z = c, r;
    switch (op) {
    case ADD:
        r = x + y;
        break;
    case SUB:
        r = x - y;
        break;
    case MUL:
        r = x * y;
        break;
    case DIV:
        r = x / y;
        break;
    case FMA:
        r = fma(x, y, z);
        break;
    default:
        r = sqrt(x);
        break;
    }
    return r;
}

static void convert(enum round_op op, bool wide, const void *a, void *out, uint32_t i)
{
    volatile double from_double = 0;
    volatile int64_t from_signed = 0;
    volatile uint64_t from_unsigned = 0;
    if (op == NARROW) {
        from_double = ((const double *)a)[i];
        ((float *)out)[i] = (float)from_double;
    } else if (op == FROM_S64) {
        from_signed = ((const int64_t *)a)[i];
        if (wide)
            ((double *)out)[i] = (double)from_signed;
        else
            ((float *)out)[i] = (float)from_signed;
    } else {
        from_unsigned = ((const uint64_t *)a)[i];
        if (wide)
            ((double *)out)[i] = (double)from_unsigned;
        else
            ((float *)out)[i] = (float)from_unsigned;
    }
}

/* code: direction (0 nearest, 1 zero, 2 down, 3 up) | operation << 4 | (1 if double) << 8. */
void soft_help_round(uint32_t code, const void *a, const void *b, const void *c, void *out)
{
    enum round_op op = code >> 4 & 15;
    bool wide = code >> 8 & 1;
    int before = fegetround();
    fesetround(direction(code));
    for (uint32_t i = 0; i < SOFT_LANES; i++) {
        if (op >= NARROW)
            convert(op, wide, a, out, i);
        else if (wide)
            ((double *)out)[i] = double_op(op, ((const double *)a)[i], ((const double *)b)[i],
                                           ((const double *)c)[i]);
        else
            ((float *)out)[i] =
                float_op(op, ((const float *)a)[i], ((const float *)b)[i], ((const float *)c)[i]);
    }
    fesetround(before);
}

/* code: 0 u64 /, 1 s64 /, 2 u64 %, 3 s64 %. By zero: all ones, and the dividend, as hardware gives.
 */
void soft_help_divide(uint32_t code, const uint64_t *a, const uint64_t *b, uint64_t *out)
{
    for (uint32_t i = 0; i < SOFT_LANES; i++) {
        if (!b[i]) {
            out[i] = code < 2 ? ~0ull : a[i];
        } else if (code & 1 && b[i] == ~0ull) { /* also the one quotient that overflows */
            out[i] = code < 2 ? 0 - a[i] : 0;
        } else {
            switch (code) {
            case 0:
                out[i] = a[i] / b[i];
                break;
            case 1:
                out[i] = (uint64_t)((int64_t)a[i] / (int64_t)b[i]);
                break;
            case 2:
                out[i] = a[i] % b[i];
                break;
            default:
                out[i] = (uint64_t)((int64_t)a[i] % (int64_t)b[i]);
                break;
            }
        }
    }
}
