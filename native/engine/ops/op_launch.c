#include "engine/ops/op_launch.h"

#include "engine/code/function.h"
#include "engine/launch/launch.h"
#include "engine/ops/message.h"
#include "engine/session/reply.h"
#include "engine/streams/stream.h"
#include "wire/message.h"

enum attribute_rule attribute_rule(CUlaunchAttributeID id)
{
    switch (id) {
    case CU_LAUNCH_ATTRIBUTE_COOPERATIVE:
    case CU_LAUNCH_ATTRIBUTE_SYNCHRONIZATION_POLICY:
    case CU_LAUNCH_ATTRIBUTE_CLUSTER_DIMENSION:
    case CU_LAUNCH_ATTRIBUTE_CLUSTER_SCHEDULING_POLICY_PREFERENCE:
    case CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION:
    case CU_LAUNCH_ATTRIBUTE_MEM_SYNC_DOMAIN_MAP:
    case CU_LAUNCH_ATTRIBUTE_MEM_SYNC_DOMAIN:
    case CU_LAUNCH_ATTRIBUTE_PREFERRED_CLUSTER_DIMENSION:
    case CU_LAUNCH_ATTRIBUTE_PREFERRED_SHARED_MEMORY_CARVEOUT:
    case CU_LAUNCH_ATTRIBUTE_NVLINK_UTIL_CENTRIC_SCHEDULING:
        return ATTRIBUTE_PASS;
    case CU_LAUNCH_ATTRIBUTE_IGNORE:
    case CU_LAUNCH_ATTRIBUTE_ACCESS_POLICY_WINDOW: /* a hint, with an address */
    case CU_LAUNCH_ATTRIBUTE_PRIORITY:             /* priorities are Tally's to give */
        return ATTRIBUTE_DROP;
    default:
        return ATTRIBUTE_REFUSE;
    }
}

static bool read_attributes(struct launch *launch, struct tally_reader *tail, uint32_t count,
                            CUresult *result)
{
    for (uint32_t i = 0; i < count; i++) {
        CUlaunchAttribute attribute;
        if (!tally_reader_copy(tail, &attribute, sizeof attribute))
            return false;
        enum attribute_rule rule = attribute_rule(attribute.id);
        if (rule == ATTRIBUTE_PASS)
            launch->attributes[launch->attribute_count++] = attribute;
        else if (rule == ATTRIBUTE_REFUSE)
            *result = CUDA_ERROR_NOT_SUPPORTED;
    }
    return true;
}

bool op_launch(struct session *session, const struct message *message)
{
    struct tally_op_launch op;
    struct tally_reader tail;
    if (!tally_op_split(message->bytes, message->size, &op, sizeof op, &tail) ||
        op.attribute_count > TALLY_ATTRIBUTES_MAX || op.param_bytes > TALLY_PARAM_BYTES_MAX ||
        op.flags & ~(uint32_t)TALLY_LAUNCH_COOPERATIVE)
        return false;
    CUlaunchAttribute attributes[TALLY_ATTRIBUTES_MAX + 1];
    struct launch launch = {
        .session = session,
        .attributes = attributes,
        .function = function_find(session, op.function),
        .stream = stream_find(session, op.stream),
        .grid = {op.grid[0], op.grid[1], op.grid[2]},
        .block = {op.block[0], op.block[1], op.block[2]},
        .dynamic_shared_bytes = op.dynamic_shared_bytes,
        .param_bytes = op.param_bytes,
        .arrived_ns = message->arrived_ns,
    };
    CUresult result = launch.function && launch.stream ? CUDA_SUCCESS : CUDA_ERROR_INVALID_HANDLE;
    if (!read_attributes(&launch, &tail, op.attribute_count, &result))
        return false;
    launch.params = tally_reader_take(&tail, op.param_bytes);
    if (!tally_reader_end(&tail))
        return false;
    if (op.flags & TALLY_LAUNCH_COOPERATIVE)
        attributes[launch.attribute_count++] =
            (CUlaunchAttribute){.id = CU_LAUNCH_ATTRIBUTE_COOPERATIVE, .value.cooperative = 1};
    session_finish(session, &op.op,
                   result == CUDA_SUCCESS ? launch_submit(session, &launch) : result);
    return true;
}
