/* Assertions that stay on in release builds. They stand at borders between parts, in pairs: what
 * one side promises the other one asks for. They are for mistakes of ours alone; what a program or
 * a message may get wrong is answered with an error. */
#ifndef TALLY_ASSERT_H
#define TALLY_ASSERT_H

#include <stdio.h>
#include <stdlib.h>

/* Out of line: an assertion that holds costs a compare and a branch that is not taken. */
static __attribute__((noreturn, noinline, cold, unused)) void
tally_assert_failed(const char *file, int line, const char *condition)
{
    fprintf(stderr, "tally: %s:%d: this does not hold: %s\n", file, line, condition);
    abort();
}

#define TALLY_ASSERT(condition)                                                                    \
    (__builtin_expect(!!(condition), 1) ? (void)0                                                  \
                                        : tally_assert_failed(__FILE__, __LINE__, #condition))

#endif
