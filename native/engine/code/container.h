/* Whether a module image keeps to its own length, before a driver that is told none reads it; and
 * how a driver is given a bundle of fatbins. */
#ifndef ENGINE_CONTAINER_H
#define ENGINE_CONTAINER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "wire/bundle.h"

/* bytes[count] is 0, as after PTX text. False: a header or a table in it says that there is
 * more. */
bool container_is_whole(const uint8_t *bytes, size_t count);

struct container_wrapper {
    const void *image; /* for cuModuleLoadData; valid while the image and this struct are */
    struct tally_fatbin_wrapper head;
    const void **list;
};

/* Of an image that is whole. False: short of memory. */
bool container_wrap(const uint8_t *bytes, size_t count, struct container_wrapper *wrapper);
void container_unwrap(struct container_wrapper *wrapper);

#endif
