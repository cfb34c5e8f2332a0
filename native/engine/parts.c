#include "engine/parts.h"

#include <time.h>

uint64_t engine_now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000ull + (uint64_t)now.tv_nsec;
}

uint32_t engine_multiprocessors(const struct tally_engine *engine)
{
    int32_t count = engine->info.attributes[CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT];
    return count > 0 ? (uint32_t)count : 0;
}

void engine_stream_priorities(const struct tally_engine *engine, int *least, int *greatest)
{
    *least = engine->info.stream_priority_least;
    *greatest = engine->info.stream_priority_greatest;
}
