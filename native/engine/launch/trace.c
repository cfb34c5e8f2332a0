#include "engine/launch/trace.h"

#include <stdlib.h>

#define ROOM_MAX (1u << 22)

void trace_open(struct trace *trace) { pthread_mutex_init(&trace->lock, NULL); }

void trace_close(struct trace *trace)
{
    free(trace->records);
    pthread_mutex_destroy(&trace->lock);
}

void trace_add(struct trace *trace, const struct tally_trace_record *record)
{
    pthread_mutex_lock(&trace->lock);
    if (trace_is_on(trace)) { /* else it began while somebody recorded, and nobody does now */
        if (trace->count < trace->room)
            trace->records[(trace->first + trace->count++) % trace->room] = *record;
        else
            trace->lost++;
    }
    pthread_mutex_unlock(&trace->lock);
}

void trace_count_start(struct tally_trace_record *record, uint64_t issue_ns,
                       const struct launch_times *times)
{
    record->issue_ns = issue_ns;
    if (record->starts++ == 0)
        record->start_ns = times->start_ns;
    record->end_ns = times->end_ns;
    record->device_ns += times->end_ns > times->start_ns ? times->end_ns - times->start_ns : 0;
}

int trace_start(struct trace *trace, uint32_t room)
{
    int result = -1;
    pthread_mutex_lock(&trace->lock);
    if (!trace->records && room > 0 && room <= ROOM_MAX &&
        (trace->records = calloc(room, sizeof *trace->records))) {
        trace->room = room;
        trace->first = trace->count = 0;
        trace->lost = 0;
        atomic_store(&trace->on, true);
        result = 0;
    }
    pthread_mutex_unlock(&trace->lock);
    return result;
}

void trace_stop(struct trace *trace)
{
    pthread_mutex_lock(&trace->lock);
    atomic_store(&trace->on, false);
    free(trace->records);
    trace->records = NULL;
    trace->room = trace->count = 0;
    pthread_mutex_unlock(&trace->lock);
}

uint32_t trace_read(struct trace *trace, struct tally_trace_record *records, uint32_t max,
                    uint64_t *lost)
{
    pthread_mutex_lock(&trace->lock);
    uint32_t count = trace->count < max ? trace->count : max;
    for (uint32_t i = 0; i < count; i++)
        records[i] = trace->records[(trace->first + i) % trace->room];
    if (count)
        trace->first = (trace->first + count) % trace->room;
    trace->count -= count;
    *lost = trace->lost;
    pthread_mutex_unlock(&trace->lock);
    return count;
}
