/* The recorder's ring: in order, bounded, and what it had no room for is counted. */
#include "engine/launch/trace.h"
#include "tests/check.h"

static void add(struct trace *trace, uint64_t session)
{
    trace_add(trace, &(struct tally_trace_record){.session = session, .kind = TALLY_TRACE_LAUNCH});
}

static void test_off(struct trace *trace)
{
    struct tally_trace_record out[4];
    uint64_t lost = 7;
    CHECK(!trace_is_on(trace));
    add(trace, 1);
    CHECK(trace_read(trace, out, 4, &lost) == 0 && lost == 0);
}

static void test_ring(struct trace *trace)
{
    struct tally_trace_record out[4];
    uint64_t lost, next = 1, seen = 1;
    CHECK(trace_start(trace, 0) == -1);
    CHECK(trace_start(trace, 4) == 0 && trace_is_on(trace));
    CHECK(trace_start(trace, 4) == -1);
    for (int round = 0; round < 10; round++) { /* round and round: three in, three out */
        for (int i = 0; i < 3; i++)
            add(trace, next++);
        CHECK(trace_read(trace, out, 2, &lost) == 2);
        CHECK(trace_read(trace, out + 2, 2, &lost) == 1 && lost == 0);
        for (int i = 0; i < 3; i++)
            CHECK(out[i].session == seen++);
    }
    for (uint64_t i = 0; i < 6; i++)
        add(trace, 100 + i);
    CHECK(trace_read(trace, out, 4, &lost) == 4 && lost == 2);
    CHECK(out[0].session == 100 && out[3].session == 103);
    add(trace, 200);
    trace_stop(trace);
    CHECK(!trace_is_on(trace));
    CHECK(trace_start(trace, 2) == 0);
    CHECK(trace_read(trace, out, 4, &lost) == 0 && lost == 0); /* nothing of the one before */
    trace_stop(trace);
}

static void test_starts(void)
{
    struct tally_trace_record record = {.kind = TALLY_TRACE_LAUNCH};
    trace_count_start(&record, 5, &(struct launch_times){.start_ns = 10, .end_ns = 14});
    trace_count_start(&record, 20, &(struct launch_times){.start_ns = 30, .end_ns = 37});
    CHECK(record.issue_ns == 20 && record.start_ns == 10 && record.end_ns == 37);
    CHECK(record.device_ns == 11 && record.starts == 2);
}

int main(void)
{
    struct trace trace = {0};
    trace_open(&trace);
    test_off(&trace);
    test_ring(&trace);
    test_starts();
    trace_close(&trace);
    return CHECK_RESULT();
}
