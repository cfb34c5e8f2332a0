/* Loads and stores of one warp that the fast paths of compiled code leave: any mix of addresses. */
#include <string.h>

#include "block.h"
#include "half.h"

/* The host address of a shared-space offset or a generic address; ends the block where it is
 * neither. */
static inline void *reach(struct soft_warp *warp, uint64_t address, uint32_t bytes, uint32_t space)
{
    const struct soft_launch *launch = warp->launch;
    struct soft_worker *worker = warp->worker;
    if (address & (bytes - 1))
        soft_raise(worker, CUDA_ERROR_MISALIGNED_ADDRESS, address);
    if (space == SOFT_SHARED_SPACE) {
        if (address > SOFT_SHARED_WINDOW - bytes)
            soft_raise(worker, CUDA_ERROR_ILLEGAL_ADDRESS, address);
        return warp->shared + address;
    }
    if (address - launch->region_base < launch->region_bytes)
        return (void *)(uintptr_t)address;
    if (address - (uint64_t)(uintptr_t)warp->shared < SOFT_SHARED_WINDOW)
        return (void *)(uintptr_t)address;
    if (address - warp->local_base < warp->local_bytes)
        return (void *)(uintptr_t)address;
    if (address - launch->pinned_base < launch->pinned_bytes)
        return (void *)(uintptr_t)address;
    if (address - (uint64_t)(uintptr_t)launch->params < launch->kernel->param_bytes)
        /* cvta.param; only for reading, the front ends see to that. */
        return (void *)(uintptr_t)address;
    if (launch->workspace &&
        address - (uint64_t)(uintptr_t)launch->workspace < sizeof *launch->workspace)
        return (void *)(uintptr_t)address;
    soft_raise(worker, CUDA_ERROR_ILLEGAL_ADDRESS, address);
}

void *soft_help_access(struct soft_warp *warp, uint64_t address, uint32_t bytes, uint32_t space)
{
    return reach(warp, address, bytes, space);
}

/* Short vectors that compiled code wants moved at once: one instruction, where the CPU has it. */
typedef uint64_t pair __attribute__((vector_size(16), may_alias));

#define EACH_LANE(mask, lane)                                                                      \
    for (uint32_t lane##_bits = (mask), lane;                                                      \
         lane##_bits && (lane = (uint32_t)__builtin_ctz(lane##_bits), 1);                          \
         lane##_bits &= lane##_bits - 1)

/* clang-format off */
#define GATHER(type)                                                                               \
    EACH_LANE (mask, lane)                                                                         \
        ((type *)out)[lane] = *(const type *)reach(warp, address[lane], sizeof(type), space)
#define SCATTER(type)                                                                              \
    EACH_LANE (mask, lane)                                                                         \
        *(type *)reach(warp, address[lane], sizeof(type), space) = ((const type *)value)[lane]
/* clang-format on */

void soft_help_load(struct soft_warp *warp, uint32_t mask, const uint64_t *address, void *out,
                    uint32_t bytes, uint32_t space)
{
    switch (bytes) {
    case 1:
        GATHER(uint8_t);
        break;
    case 2:
        GATHER(uint16_t);
        break;
    case 4:
        GATHER(uint32_t);
        break;
    case 8:
        GATHER(uint64_t);
        break;
    default:
        GATHER(pair);
        break;
    }
}

void soft_help_store(struct soft_warp *warp, uint32_t mask, const uint64_t *address,
                     const void *value, uint32_t bytes, uint32_t space)
{
    switch (bytes) {
    case 1:
        SCATTER(uint8_t);
        break;
    case 2:
        SCATTER(uint16_t);
        break;
    case 4:
        SCATTER(uint32_t);
        break;
    case 8:
        SCATTER(uint64_t);
        break;
    default:
        SCATTER(pair);
        break;
    }
}

/* ---- atomics -------------------------------------------------------------------------------- */

enum atom_op { OP_ADD, OP_MIN, OP_MAX, OP_INC, OP_DEC, OP_AND, OP_OR, OP_XOR, OP_EXCH, OP_CAS };
enum atom_type { U16, U32, S32, U64, S64, F32, F64, F16, BF16, F16X2, BF16X2 };

static uint64_t apply_float(enum atom_op op, enum atom_type type, uint64_t old, uint64_t a)
{
    if (type == F64) {
        double x, y;
        memcpy(&x, &old, 8);
        memcpy(&y, &a, 8);
        x = op == OP_ADD ? x + y : op == OP_MIN ? __builtin_fmin(x, y) : __builtin_fmax(x, y);
        memcpy(&old, &x, 8);
        return old;
    }
    float x, y;
    if (type == F32) {
        memcpy(&x, &old, 4);
        memcpy(&y, &a, 4);
    } else {
        x = type == F16 ? soft_half_to_float((uint16_t)old) : soft_bfloat_to_float((uint16_t)old);
        y = type == F16 ? soft_half_to_float((uint16_t)a) : soft_bfloat_to_float((uint16_t)a);
    }
    x = op == OP_ADD ? x + y : op == OP_MIN ? __builtin_fminf(x, y) : __builtin_fmaxf(x, y);
    if (type == F16)
        return soft_float_to_half(x);
    if (type == BF16)
        return soft_float_to_bfloat(x);
    uint32_t bits;
    memcpy(&bits, &x, 4);
    return bits;
}

static uint64_t apply(enum atom_op op, enum atom_type type, uint64_t old, uint64_t a, uint64_t b)
{
    if (type == F16X2 || type == BF16X2) {
        enum atom_type half = type == F16X2 ? F16 : BF16;
        return apply_float(op, half, old & 0xffff, a & 0xffff) |
               apply_float(op, half, old >> 16 & 0xffff, a >> 16 & 0xffff) << 16;
    }
    if (type >= F32 && op <= OP_MAX)
        return apply_float(op, type, old, a);
    switch (op) {
    case OP_ADD:
        return old + a;
    case OP_MIN:
        if (type == S32)
            return (int32_t)old < (int32_t)a ? old : a;
        if (type == S64)
            return (int64_t)old < (int64_t)a ? old : a;
        return old < a ? old : a;
    case OP_MAX:
        if (type == S32)
            return (int32_t)old > (int32_t)a ? old : a;
        if (type == S64)
            return (int64_t)old > (int64_t)a ? old : a;
        return old > a ? old : a;
    case OP_INC:
        return old >= a ? 0 : old + 1;
    case OP_DEC:
        return old == 0 || old > a ? a : old - 1;
    case OP_AND:
        return old & a;
    case OP_OR:
        return old | a;
    case OP_XOR:
        return old ^ a;
    case OP_EXCH:
        return a;
    case OP_CAS:
        return old == a ? b : old;
    }
    return old;
}

#define ATOMIC(type_)                                                                              \
    EACH_LANE (mask, lane) {                                                                       \
        type_ *where = reach(warp, address[lane], sizeof(type_), space);                           \
        type_ operand = ((const type_ *)a)[lane], other = b ? ((const type_ *)b)[lane] : 0;        \
        type_ old;                                                                                 \
        if (op == OP_ADD && type < F32) {                                                          \
            old = __atomic_fetch_add(where, operand, __ATOMIC_SEQ_CST);                            \
        } else {                                                                                   \
            old = __atomic_load_n(where, __ATOMIC_RELAXED);                                        \
            while (!__atomic_compare_exchange_n(where, &old,                                       \
                                                (type_)apply(op, type, old, operand, other),       \
                                                false, __ATOMIC_SEQ_CST, __ATOMIC_RELAXED)) {      \
            }                                                                                      \
        }                                                                                          \
        if (out)                                                                                   \
            ((type_ *)out)[lane] = old;                                                            \
    }

/* code: operation, and type << 8. */
void soft_help_atom(struct soft_warp *warp, uint32_t mask, const uint64_t *address, const void *a,
                    const void *b, void *out, uint32_t code, uint32_t space)
{
    enum atom_op op = code & 255;
    enum atom_type type = code >> 8;
    switch (type) {
    case U16:
    case F16:
    case BF16:
        ATOMIC(uint16_t) break;
    case U64:
    case S64:
    case F64:
        ATOMIC(uint64_t) break;
    default:
        ATOMIC(uint32_t) break;
    }
}
