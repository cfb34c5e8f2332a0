/* Whether a module image keeps to its own length, before a driver that is told none reads it. */
#ifndef ENGINE_CONTAINER_H
#define ENGINE_CONTAINER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* bytes[count] is 0, as after PTX text. False: a header or a table in it says that there is more. */
bool container_is_whole(const uint8_t *bytes, size_t count);

#endif
