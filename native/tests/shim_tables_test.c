/* Handle tables and the table of address ranges. */
#include <pthread.h>
#include <stdlib.h>

#include "check.h"
#include "shim/handles.h"
#include "shim/ranges.h"

/* The tables want no connection, but the shim's fork hooks go through it. */
void shim_on_fork(void (*forget)(void)) { (void)forget; }

static void test_handles(void)
{
    int a, b;
    uint64_t first = shim_handle_add(TALLY_KIND_STREAM, &a);
    uint64_t second = shim_handle_add(TALLY_KIND_STREAM, &b);
    CHECK(first && second && first != second);
    CHECK(shim_handle_get(TALLY_KIND_STREAM, first) == &a &&
          shim_handle_get(TALLY_KIND_STREAM, second) == &b);
    CHECK(!shim_handle_get(TALLY_KIND_EVENT, first)); /* the kind is part of the handle */
    CHECK(!shim_handle_get(TALLY_KIND_STREAM, 0) && !shim_handle_get(TALLY_KIND_STREAM, 1));
    CHECK(!shim_handle_get(TALLY_KIND_STREAM, TALLY_HANDLE(TALLY_KIND_STREAM, TALLY_INDEX_MAX)));
    CHECK(!shim_handle_get(TALLY_KIND_STREAM, TALLY_HANDLE(TALLY_KIND_STREAM, 5000)));
    CHECK(shim_handle_remove(TALLY_KIND_STREAM, first) == &a);
    CHECK(!shim_handle_remove(TALLY_KIND_STREAM, first));   /* twice */
    CHECK(shim_handle_add(TALLY_KIND_STREAM, &a) != first); /* not released yet */
    shim_handle_release(TALLY_KIND_STREAM, first);
    CHECK(shim_handle_add(TALLY_KIND_STREAM, &b) == first);
}

static void test_handles_many(void)
{
    enum { COUNT = 5000 };
    static uint64_t handles[COUNT];
    static int records[COUNT];
    for (int i = 0; i < COUNT; i++)
        handles[i] = shim_handle_add(TALLY_KIND_EVENT, &records[i]);
    for (int i = 0; i < COUNT; i++)
        CHECK(shim_handle_get(TALLY_KIND_EVENT, handles[i]) == &records[i]);
    shim_handle_forget();
    for (int i = 0; i < COUNT; i++)
        CHECK(!shim_handle_get(TALLY_KIND_EVENT, handles[i]));
}

static struct shim_range device_range(uint64_t base, uint64_t bytes)
{
    return (struct shim_range){.base = base, .bytes = bytes, .kind = SHIM_RANGE_DEVICE};
}

static void test_ranges(void)
{
    struct shim_range found;
    CHECK(shim_range_add(device_range(1000, 100)) == CUDA_SUCCESS);
    CHECK(shim_range_add(device_range(1100, 50)) == CUDA_SUCCESS); /* adjacent */
    CHECK(shim_range_add(device_range(900, 100)) == CUDA_SUCCESS);
    CHECK(shim_range_add(device_range(1050, 10)) == CUDA_ERROR_ALREADY_MAPPED);
    CHECK(shim_range_add(device_range(899, 2)) == CUDA_ERROR_ALREADY_MAPPED);
    CHECK(shim_range_add(device_range(1149, 100)) == CUDA_ERROR_ALREADY_MAPPED);
    /* Wraps. */
    CHECK(shim_range_add(device_range(UINT64_MAX - 5, 10)) == CUDA_ERROR_ALREADY_MAPPED);
    CHECK(shim_range_find(1099, &found) && found.base == 1000);
    CHECK(shim_range_find(1100, &found) && found.base == 1100);
    CHECK(!shim_range_find(1150, &found) && !shim_range_find(899, &found));
    CHECK(!shim_range_remove(1050, SHIM_RANGE_DEVICE, &found)); /* not its base */
    CHECK(!shim_range_remove(1000, SHIM_RANGE_PINNED, &found));
    CHECK(shim_range_remove(1000, SHIM_RANGE_DEVICE, &found) && found.bytes == 100);
    CHECK(!shim_range_remove(1000, SHIM_RANGE_DEVICE, &found)); /* twice */
    CHECK(!shim_range_find(1000, &found));
    while (shim_range_remove_any(NULL, &found))
        ;
    CHECK(!shim_range_find(1100, &found));
}

/* Against a plain array: the same seed, the same story. */
static void test_ranges_random(unsigned seed)
{
    enum { CELLS = 512 };
    static bool model[CELLS];
    srand(seed);
    for (int step = 0; step < 20000; step++) {
        uint64_t cell = (uint64_t)rand() % CELLS;
        struct shim_range found;
        bool known = shim_range_find(0x10000 + cell * 16 + 7, &found);
        CHECK(known == model[cell]);
        if (known)
            CHECK(shim_range_remove(0x10000 + cell * 16, SHIM_RANGE_DEVICE, &found));
        else
            CHECK(shim_range_add(device_range(0x10000 + cell * 16, 16)) == CUDA_SUCCESS);
        model[cell] = !known;
    }
    if (check_failures)
        fprintf(stderr, "seed %u\n", seed);
}

int main(int argc, char **argv)
{
    test_handles();
    test_handles_many();
    test_ranges();
    test_ranges_random(argc > 1 ? (unsigned)atoi(argv[1]) : 1);
    return CHECK_RESULT();
}
