/* Generated calls from end to end in one process: the client's encoder, the engine's dispatch, and
 * a driver of recorders. Then every message again with sizes that lie. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "engine/ops/generated/dispatch_gen.h"
#include "engine/ops/resolve.h"
#include "shim/context.h"
#include "shim/generated/calls.h"
#include "shim/wire_args.h"
#include "tests/check.h"

#define FUNCTION ((CUfunction)0x11)
#define STREAM ((CUstream)0x22)
#define CLIENT_STREAM ((CUstream)0x33)

static struct tally_driver driver;
static unsigned char last_op[4096]; /* as the client sent it last */
static size_t last_bytes;

/* ---- what the generated client needs of the shim ---- */

CUresult shim_current(struct shim_context **context, struct shim_channel **channel)
{
    *channel = NULL;
    return CUDA_SUCCESS;
}

CUresult shim_wire_stream(bool per_thread, CUstream stream, uint64_t *out)
{
    *out = stream == CLIENT_STREAM ? 33 : per_thread ? 2 : 1;
    return stream == NULL || stream == CLIENT_STREAM ? CUDA_SUCCESS : CUDA_ERROR_INVALID_HANDLE;
}

CUresult shim_wire_function(CUfunction function, uint64_t *out)
{
    *out = 7;
    return function == FUNCTION ? CUDA_SUCCESS : CUDA_ERROR_INVALID_HANDLE;
}

CUresult shim_wire_launch_config(const CUlaunchConfig *config, struct tally_launch_config *out)
{
    out->grid[0] = config->gridDimX;
    out->attribute_count = config->numAttrs;
    memcpy(out->attributes, config->attrs, config->numAttrs * sizeof config->attrs[0]);
    out->stream = 33;
    return CUDA_SUCCESS;
}

static CUresult deliver(void *op, size_t op_bytes, uint64_t call_id, void *reply,
                        size_t reply_bytes)
{
    struct tally_op *header = op;
    header->bytes = (uint32_t)op_bytes;
    header->call_id = call_id;
    CHECK(op_bytes <= sizeof last_op);
    memcpy(last_op, op, op_bytes);
    last_bytes = op_bytes;
    unsigned char answer[ENGINE_GENERATED_REPLY_BYTES_MAX];
    unsigned char unaligned[sizeof last_op + 1];
    memcpy(unaligned + 1, op, op_bytes);
    size_t answer_bytes = 0;
    CUresult result = CUDA_ERROR_UNKNOWN;
    CHECK(engine_dispatch_generated(NULL, unaligned + 1, op_bytes, answer, &answer_bytes, &result));
    CHECK(answer_bytes == reply_bytes);
    if (reply_bytes > 0)
        memcpy(reply, answer, reply_bytes);
    return result;
}

CUresult shim_send(struct shim_channel *channel, void *op, size_t op_bytes, const void *tail,
                   size_t tail_bytes)
{
    return deliver(op, op_bytes, 0, NULL, 0);
}

CUresult shim_call(struct shim_channel *channel, void *op, size_t op_bytes, const void *tail,
                   size_t tail_bytes, void *reply, size_t reply_bytes)
{
    return deliver(op, op_bytes, 1, reply, reply_bytes);
}

/* ---- what the generated dispatch needs of the engine ---- */

CUresult engine_resolve_stream(struct session *session, uint64_t handle, CUstream *out)
{
    *out = STREAM;
    return handle == 33 ? CUDA_SUCCESS : CUDA_ERROR_INVALID_HANDLE;
}

CUresult engine_resolve_function(struct session *session, uint64_t handle, CUfunction *out)
{
    *out = FUNCTION;
    return handle == 7 ? CUDA_SUCCESS : CUDA_ERROR_INVALID_HANDLE;
}

const struct tally_driver *engine_driver(struct session *session) { return &driver; }

/* ---- the driver ---- */

static int calls;

static CUresult set_attribute(CUfunction function, CUfunction_attribute attribute, int value)
{
    calls++;
    CHECK(function == FUNCTION && attribute == CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES &&
          value == -5);
    return CUDA_ERROR_INVALID_VALUE;
}

static CUresult set_cache(CUfunction function, CUfunc_cache config)
{
    calls++;
    CHECK(function == FUNCTION && config == CU_FUNC_CACHE_PREFER_L1);
    return CUDA_SUCCESS;
}

static CUresult active_blocks(int *blocks, CUfunction function, int size, size_t shared,
                              unsigned int flags)
{
    calls++;
    CHECK(function == FUNCTION && size == 128 && shared == (1ull << 33) && flags == 1);
    *blocks = 6;
    return CUDA_SUCCESS;
}

static CUresult active_clusters(int *clusters, CUfunction function, const CUlaunchConfig *config)
{
    calls++;
    CHECK(function == NULL && config->gridDimX == 9 && config->numAttrs == 1 &&
          config->hStream == STREAM);
    CHECK(config->attrs[0].id == CU_LAUNCH_ATTRIBUTE_PRIORITY &&
          config->attrs[0].value.priority == -3);
    *clusters = 4;
    return CUDA_SUCCESS;
}

static CUresult get_attribute(CUstream stream, CUstreamAttrID attribute, CUstreamAttrValue *value)
{
    calls++;
    CHECK(stream == STREAM && attribute == CU_LAUNCH_ATTRIBUTE_PRIORITY);
    value->priority = -2;
    return CUDA_SUCCESS;
}

static CUresult encode_tiled(CUtensorMap *map, CUtensorMapDataType type, cuuint32_t rank,
                             void *address, const cuuint64_t *dims, const cuuint64_t *strides,
                             const cuuint32_t *box, const cuuint32_t *element_strides,
                             CUtensorMapInterleave interleave, CUtensorMapSwizzle swizzle,
                             CUtensorMapL2promotion promotion, CUtensorMapFloatOOBfill fill)
{
    calls++;
    CHECK((uintptr_t)map % _Alignof(CUtensorMap) == 0);
    CHECK(type == CU_TENSOR_MAP_DATA_TYPE_FLOAT16 && rank == 3 &&
          (uintptr_t)address == 0x123456789abcull);
    CHECK(dims[0] == 1 && dims[2] == 3 && strides[1] == 200 && box[2] == 30 &&
          element_strides[2] == 1);
    CHECK(swizzle == CU_TENSOR_MAP_SWIZZLE_128B &&
          fill == CU_TENSOR_MAP_FLOAT_OOB_FILL_NAN_REQUEST_ZERO_FMA);
    memset(map, 0x5a, sizeof *map);
    return CUDA_SUCCESS;
}

static CUresult replace_address(CUtensorMap *map, void *address)
{
    calls++;
    CHECK(((unsigned char *)map)[0] == 0x5a && (uintptr_t)address == 0x4000);
    ((unsigned char *)map)[0] = 1;
    return CUDA_SUCCESS;
}

/* ---- tests ---- */

/* The message as sent, with every wrong size and every other code: malformed, or refused by the
 * driver table, and never more bytes read than there are (a sanitizer would tell). */
static void lie_about_last_op(void)
{
    unsigned char reply[ENGINE_GENERATED_REPLY_BYTES_MAX];
    size_t reply_bytes;
    CUresult result;
    for (size_t bytes = 0; bytes < last_bytes + 8; bytes++) {
        unsigned char *copy = malloc(bytes > 0 ? bytes : 1);
        memcpy(copy, last_op, bytes < last_bytes ? bytes : last_bytes);
        if (bytes != last_bytes)
            CHECK(!engine_dispatch_generated(NULL, copy, bytes, reply, &reply_bytes, &result));
        free(copy);
    }
    struct tally_op op;
    memcpy(&op, last_op, sizeof op);
    op.call_id = !op.call_id; /* a call sent one-way, and the other way round */
    memcpy(last_op, &op, sizeof op);
    CHECK(!engine_dispatch_generated(NULL, last_op, last_bytes, reply, &reply_bytes, &result));
    for (uint32_t code = TALLY_OP_GENERATED_END; code <= UINT16_MAX; code += 997) {
        op.code = (uint16_t)code;
        memcpy(last_op, &op, sizeof op);
        CHECK(!engine_dispatch_generated(NULL, last_op, last_bytes, reply, &reply_bytes, &result));
    }
}

static void test_scalars(void)
{
    CHECK(wire_cuFuncSetAttribute(FUNCTION, CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES, -5) ==
          CUDA_ERROR_INVALID_VALUE);
    lie_about_last_op();
    CHECK(wire_cuFuncSetCacheConfig(FUNCTION, CU_FUNC_CACHE_PREFER_L1) == CUDA_SUCCESS);
    lie_about_last_op();
    int blocks = 0;
    CHECK(wire_cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(&blocks, FUNCTION, 128,
                                                                    1ull << 33, 1) == CUDA_SUCCESS);
    CHECK(blocks == 6);
    lie_about_last_op();
    CHECK(calls == 3);
    CHECK(wire_cuFuncSetAttribute((CUfunction)0x99, 0, 0) == CUDA_ERROR_INVALID_HANDLE);
    CHECK(wire_cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(NULL, FUNCTION, 1, 1, 0) ==
          CUDA_ERROR_INVALID_VALUE);
    CHECK(calls == 3);
    driver.cuFuncSetAttribute = NULL; /* a driver without the function */
    CHECK(wire_cuFuncSetAttribute(FUNCTION, 0, 0) == CUDA_ERROR_NOT_SUPPORTED);
}

static void test_structs(void)
{
    calls = 0;
    CUlaunchAttribute attribute = {.id = CU_LAUNCH_ATTRIBUTE_PRIORITY, .value.priority = -3};
    CUlaunchConfig config = {.gridDimX = 9, .attrs = &attribute, .numAttrs = 1};
    int clusters = 0;
    CHECK(wire_cuOccupancyMaxActiveClusters(&clusters, NULL, &config) == CUDA_SUCCESS &&
          clusters == 4);
    struct tally_op_cuOccupancyMaxActiveClusters op;
    memcpy(&op, last_op, sizeof op);
    op.config.attribute_count = TALLY_QUERY_ATTRIBUTES_MAX + 1;
    unsigned char reply[ENGINE_GENERATED_REPLY_BYTES_MAX];
    size_t reply_bytes;
    CUresult result;
    CHECK(engine_dispatch_generated(NULL, &op, sizeof op, reply, &reply_bytes, &result));
    CHECK(result == CUDA_ERROR_INVALID_VALUE);
    lie_about_last_op();
    CUstreamAttrValue value;
    CHECK(wire_cuStreamGetAttribute(false, CLIENT_STREAM, CU_LAUNCH_ATTRIBUTE_PRIORITY, &value) ==
          CUDA_SUCCESS);
    CHECK(value.priority == -2);
    /* The default streams go as their own numbers, which this engine does not know. */
    CHECK(wire_cuStreamGetAttribute(true, NULL, CU_LAUNCH_ATTRIBUTE_PRIORITY, &value) ==
          CUDA_ERROR_INVALID_HANDLE);
    CHECK(calls == 2);
}

static CUresult encode(CUtensorMap *map, cuuint32_t rank)
{
    static const cuuint64_t dims[5] = {1, 2, 3, 4, 5}, strides[4] = {100, 200, 300, 400};
    static const cuuint32_t box[5] = {10, 20, 30, 40, 50}, element_strides[5] = {1, 1, 1, 1, 1};
    return wire_cuTensorMapEncodeTiled(
        map, CU_TENSOR_MAP_DATA_TYPE_FLOAT16, rank, (void *)0x123456789abcull, dims, strides, box,
        element_strides, CU_TENSOR_MAP_INTERLEAVE_NONE, CU_TENSOR_MAP_SWIZZLE_128B,
        CU_TENSOR_MAP_L2_PROMOTION_NONE, CU_TENSOR_MAP_FLOAT_OOB_FILL_NAN_REQUEST_ZERO_FMA);
}

static void test_arrays(void)
{
    calls = 0;
    CUtensorMap map = {0};
    CHECK(encode(&map, 3) == CUDA_SUCCESS && ((unsigned char *)&map)[127] == 0x5a);
    CHECK(encode(&map, 0) == CUDA_ERROR_INVALID_VALUE &&
          encode(&map, 6) == CUDA_ERROR_INVALID_VALUE);
    CHECK(calls == 1);
    struct tally_op_cuTensorMapEncodeTiled op; /* the engine does not trust the client's check */
    memcpy(&op, last_op, sizeof op);
    op.tensorRank = 0xffffffff;
    unsigned char reply[ENGINE_GENERATED_REPLY_BYTES_MAX];
    size_t reply_bytes;
    CUresult result;
    CHECK(engine_dispatch_generated(NULL, &op, sizeof op, reply, &reply_bytes, &result));
    CHECK(result == CUDA_ERROR_INVALID_VALUE && calls == 1);
    CHECK(wire_cuTensorMapReplaceAddress(&map, (void *)0x4000) == CUDA_SUCCESS);
    CHECK(((unsigned char *)&map)[0] == 1 && ((unsigned char *)&map)[1] == 0x5a);
    lie_about_last_op();
}

int main(void)
{
    driver.cuFuncSetAttribute = set_attribute;
    driver.cuFuncSetCacheConfig = set_cache;
    driver.cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags = active_blocks;
    driver.cuOccupancyMaxActiveClusters = active_clusters;
    driver.cuStreamGetAttribute = get_attribute;
    driver.cuTensorMapEncodeTiled = encode_tiled;
    driver.cuTensorMapReplaceAddress = replace_address;
    test_scalars();
    test_structs();
    test_arrays();
    return CHECK_RESULT();
}
