/* The op that launches a kernel: from the message to a launch that launch_submit takes. */
#ifndef TALLY_ENGINE_OP_LAUNCH_H
#define TALLY_ENGINE_OP_LAUNCH_H

#include "engine/ops/message.h"
#include "tally/cuda.h"

/* Attributes that name no address, no handle, and nothing that would let one session hurt another,
 * pass. Mere hints are dropped; those that a program would miss are refused. */
enum attribute_rule { ATTRIBUTE_PASS, ATTRIBUTE_DROP, ATTRIBUTE_REFUSE };
enum attribute_rule attribute_rule(CUlaunchAttributeID id);

#endif
