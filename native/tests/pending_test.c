/* What may become of a launch: each transition that the table has, and that every other one is told
 * of. */
#include "engine/launch/pending.h"
#include "tests/check.h"

static const enum pending_state known[][2] = {
    {PENDING_FREE, PENDING_TAKEN},          {PENDING_TAKEN, PENDING_FREE},
    {PENDING_TAKEN, PENDING_SUBMITTED},     {PENDING_TAKEN, PENDING_IN_FLIGHT},
    {PENDING_SUBMITTED, PENDING_FREE},      {PENDING_SUBMITTED, PENDING_ISSUING},
    {PENDING_SUBMITTED, PENDING_IN_FLIGHT}, {PENDING_SUBMITTED, PENDING_DROPPED},
    {PENDING_ISSUING, PENDING_DETACHED},    {PENDING_ISSUING, PENDING_IN_FLIGHT},
    {PENDING_ISSUING, PENDING_DONE},        {PENDING_ISSUING, PENDING_DROPPED},
    {PENDING_DETACHED, PENDING_DONE},       {PENDING_DETACHED, PENDING_DROPPED},
    {PENDING_IN_FLIGHT, PENDING_FREE},      {PENDING_DONE, PENDING_FREE},
    {PENDING_DROPPED, PENDING_FREE},
};

static bool is_known(enum pending_state from, enum pending_state to)
{
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (known[i][0] == from && known[i][1] == to)
            return true;
    return false;
}

static void test_table(void)
{
    for (uint32_t from = 0; from < PENDING_STATES; from++)
        for (uint32_t to = 0; to < PENDING_STATES; to++)
            CHECK(pending_may_move(from, to) == is_known(from, to));
}

static void test_ways(void)
{
    struct pending pending = {0};
    static const enum pending_state stopped[] = {PENDING_TAKEN,   PENDING_SUBMITTED,
                                                 PENDING_ISSUING, PENDING_DETACHED,
                                                 PENDING_DONE,    PENDING_FREE};
    for (size_t i = 0; i < sizeof stopped / sizeof *stopped; i++)
        CHECK(pending_move(&pending, stopped[i]) && pending.state == stopped[i]);
    CHECK(pending_move(&pending, PENDING_TAKEN) && !pending_is_live(&pending));
    pending.gated = true;
    CHECK(pending_move(&pending, PENDING_SUBMITTED) && pending_is_live(&pending) &&
          !pending_has_thread(&pending));
    pending.gated = false;
    CHECK(pending_has_thread(&pending));
    CHECK(pending_move(&pending, PENDING_DROPPED) && pending_is_over(&pending) &&
          !pending_is_live(&pending));
    CHECK(pending_wrong() == NULL);
}

static void test_validate(void)
{
    CHECK(pending_validate(&(struct pending){.state = PENDING_SUBMITTED}) == NULL);
    CHECK(pending_validate(&(struct pending){.state = PENDING_ISSUING, .issued = 1}) == NULL);
    CHECK(pending_validate(&(struct pending){.state = PENDING_SUBMITTED, .issued = 1}) != NULL);
    CHECK(pending_validate(&(struct pending){.state = PENDING_DETACHED}) != NULL);
    CHECK(pending_validate(
              &(struct pending){.state = PENDING_DETACHED, .issued = 1, .gated = true}) != NULL);
    CHECK(pending_validate(&(struct pending){.state = PENDING_TAKEN, .todo_count = 1}) != NULL);
    CHECK(pending_validate(
              &(struct pending){.state = PENDING_ISSUING, .issued = 1, .todo_count = 5}) != NULL);
}

int main(void)
{
    test_table();
    test_ways();
    test_validate();
    return CHECK_RESULT();
}
