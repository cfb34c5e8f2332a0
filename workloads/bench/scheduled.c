/* Launches at another program's word, so that it can switch the policy in between.
 *
 *     tally run -- scheduled
 *
 * For a line "launches N" on standard input: N launches and a synchronisation; answers with nanoseconds a
 * launch. For a line "requests N": N times a launch and a synchronisation; answers with their median in
 * nanoseconds. Exit status 2: a call failed. */
#include "driver.h"

enum { REQUESTS_MAX = 4096 };

static double run_launches(void *function, int count)
{
    double begin = now_ns(CLOCK_MONOTONIC);
    for (int i = 0; i < count; i++)
        launch(function);
    CHECK(cu.synchronize());
    return (now_ns(CLOCK_MONOTONIC) - begin) / count;
}

static int by_value(const void *a, const void *b)
{
    double first = *(const double *)a, second = *(const double *)b;
    return (first > second) - (first < second);
}

static double run_requests(void *function, int count)
{
    static double times[REQUESTS_MAX];
    count = count < REQUESTS_MAX ? count : REQUESTS_MAX;
    for (int i = 0; i < count; i++) {
        double begin = now_ns(CLOCK_MONOTONIC);
        launch(function);
        CHECK(cu.synchronize());
        times[i] = now_ns(CLOCK_MONOTONIC) - begin;
    }
    qsort(times, (size_t)count, sizeof times[0], by_value);
    return times[count / 2];
}

int main(void)
{
    char what[32];
    int count;
    void *function = start_cuda();
    while (scanf("%31s %d", what, &count) == 2 && count > 0) {
        printf("%.1f\n", strcmp(what, "requests") ? run_launches(function, count) : run_requests(function, count));
        fflush(stdout);
    }
    return 0;
}
