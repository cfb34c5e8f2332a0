/* Shared by the test programs: every one exits 0 only if all that it computed is right. */
#ifndef CHECK_H
#define CHECK_H

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cuda_runtime.h>

/* The call must succeed. */
#define CHECK(call)                                                                                \
    do {                                                                                           \
        cudaError_t error_ = (call);                                                               \
        if (error_ != cudaSuccess) {                                                               \
            fprintf(stderr, "%s:%d: %s gave %d (%s)\n", __FILE__, __LINE__, #call, (int)error_,    \
                    cudaGetErrorString(error_));                                                   \
            exit(2);                                                                               \
        }                                                                                          \
    } while (0)

/* The call must give this error. */
#define CHECK_ERROR(call, wanted)                                                                  \
    do {                                                                                           \
        cudaError_t error_ = (call);                                                               \
        if (error_ != (wanted)) {                                                                  \
            fprintf(stderr, "%s:%d: %s gave %d (%s), not %d\n", __FILE__, __LINE__, #call,         \
                    (int)error_, cudaGetErrorString(error_), (int)(wanted));                       \
            exit(2);                                                                               \
        }                                                                                          \
    } while (0)

#define EXPECT(condition, ...)                                                                     \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            fprintf(stderr, "%s:%d: %s is false: ", __FILE__, __LINE__, #condition);               \
            fprintf(stderr, __VA_ARGS__);                                                          \
            fputc('\n', stderr);                                                                   \
            exit(1);                                                                               \
        }                                                                                          \
    } while (0)

/* Small reproducible random numbers (xorshift). */
static inline uint32_t next_random(uint32_t *state)
{
    uint32_t x = *state;
    x ^= x << 13;
    x ^= x >> 17;
    x ^= x << 5;
    return *state = x;
}

static inline float next_float(uint32_t *state) { return (float)(next_random(state) >> 8) / 16777216.0f; }

#endif
