/* One received op, whole and with a header that fits it. */
#ifndef TALLY_ENGINE_MESSAGE_H
#define TALLY_ENGINE_MESSAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/ops/generated/ops_gen.h" /* op_handler, and the handlers */
#include "tally/protocol.h"
#include "wire/message.h"

struct session;

struct message {
    struct tally_op op;
    const uint8_t *bytes; /* unaligned */
    size_t size;
    uint64_t arrived_ns;
};

#endif
