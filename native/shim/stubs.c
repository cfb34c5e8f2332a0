#include "stubs.h"

/* Slots are counted in octal, so that eight at a time can be pasted together: slot 17 is the
 * token 21. */
#define DEFINE(table, octal)                                                                       \
    static CUresult stub_##table##_##octal(void) { return shim_stub_called(table, 0##octal); }
#define NAME(table, octal) stub_##table##_##octal,

/* clang-format off */
#define EIGHT(X, table, octal) \
    X(table, octal##0) X(table, octal##1) X(table, octal##2) X(table, octal##3) \
    X(table, octal##4) X(table, octal##5) X(table, octal##6) X(table, octal##7)
#define ALL(X, table) \
    EIGHT(X, table, 0) EIGHT(X, table, 1) EIGHT(X, table, 2) EIGHT(X, table, 3) \
    EIGHT(X, table, 4) EIGHT(X, table, 5) EIGHT(X, table, 6) EIGHT(X, table, 7) \
    EIGHT(X, table, 10) EIGHT(X, table, 11) EIGHT(X, table, 12) EIGHT(X, table, 13)
/* clang-format on */

ALL(DEFINE, 0)
ALL(DEFINE, 1)
ALL(DEFINE, 2)
ALL(DEFINE, 3)
ALL(DEFINE, 4)
ALL(DEFINE, 5)
ALL(DEFINE, 6)
ALL(DEFINE, 7)
ALL(DEFINE, 8)
ALL(DEFINE, 9)
ALL(DEFINE, 10)
ALL(DEFINE, 11)

shim_stub *const shim_stubs[SHIM_STUB_TABLES][SHIM_STUB_SLOTS] = {
    {ALL(NAME, 0)}, {ALL(NAME, 1)}, {ALL(NAME, 2)},  {ALL(NAME, 3)},
    {ALL(NAME, 4)}, {ALL(NAME, 5)}, {ALL(NAME, 6)},  {ALL(NAME, 7)},
    {ALL(NAME, 8)}, {ALL(NAME, 9)}, {ALL(NAME, 10)}, {ALL(NAME, 11)},
};
