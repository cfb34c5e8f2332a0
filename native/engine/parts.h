/* What an engine is made of, for its own files: each part belongs to the file that its type is
 * named after, and is made and destroyed by engine.c. */
#ifndef TALLY_ENGINE_PARTS_H
#define TALLY_ENGINE_PARTS_H

#include <stdatomic.h>
#include <stdbool.h>

#include "engine/device/driver.h"
#include "engine/engine.h"
#include "engine/launch/trace.h"
#include "tally/address.h"

#define SESSIONS_MAX TALLY_SESSIONS_MAX

struct tally_engine {
    struct tally_engine_config config; /* strings are the engine's own */
    struct driver driver;
    void *zmq;
    struct image_cache *images;
    struct schedule *schedule;
    struct kernels *kernels;
    struct rewriter *rewriter;
    struct trace trace;
    struct quota *pinned_quota, *memory_quota; /* host memory, device memory */
    struct watcher *watcher;
    struct roster *roster;
    struct news *news;
    _Atomic bool lost; /* the context, for everybody */
    struct tally_device_info info;
    int32_t driver_version;
};

uint64_t engine_now_ns(void);                                       /* CLOCK_MONOTONIC */
uint32_t engine_multiprocessors(const struct tally_engine *engine); /* 0: not known */
void engine_stream_priorities(const struct tally_engine *engine, int *least, int *greatest);

#endif
