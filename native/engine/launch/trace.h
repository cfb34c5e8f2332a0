/* The recorder: a ring of records of launches and requests, filled while somebody records. While
 * nobody does, each launch and each request costs one look at a flag. */
#ifndef TALLY_ENGINE_TRACE_H
#define TALLY_ENGINE_TRACE_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "engine/engine.h"
#include "engine/launch/times.h"

struct trace {
    _Atomic bool on;
    pthread_mutex_t lock; /* innermost: taken inside the schedule's */
    struct tally_trace_record *records;
    uint32_t room, first, count;
    uint64_t lost;
};

void trace_open(struct trace *trace);
void trace_close(struct trace *trace);

static inline bool trace_is_on(const struct trace *trace)
{
    return atomic_load_explicit(&trace->on, memory_order_relaxed);
}

/* -1: somebody records already, or memory is short. */
int trace_start(struct trace *trace, uint32_t room);
void trace_stop(struct trace *trace);
/* The oldest records, which leave the ring; *lost: records that found it full, since the start. */
uint32_t trace_read(struct trace *trace, struct tally_trace_record *records, uint32_t max,
                    uint64_t *lost);

/* A ring that is full keeps what it has, and the new record counts as lost. */
void trace_add(struct trace *trace, const struct tally_trace_record *record);
/* One start of the launch that the record is about has ended. */
void trace_count_start(struct tally_trace_record *record, uint64_t issue_ns,
                       const struct launch_times *times);

#endif
