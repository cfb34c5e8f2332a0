/* Stream-ordered writes of, and waits for, one value in memory. */
#include "address_check.h"
#include "queue.h"

static CUresult submit_value(enum soft_op_kind kind, CUstream handle, CUdeviceptr address,
                             uint64_t value, unsigned int flags, bool wide)
{
    struct soft_call call;
    struct soft_stream *stream;
    CUresult result = soft_enter(&call);
    if (result != CUDA_SUCCESS)
        return result;
    unsigned allowed =
        kind == SOFT_OP_AWAIT ? 3u : (unsigned)CU_STREAM_WRITE_VALUE_NO_MEMORY_BARRIER;
    if ((flags & ~allowed) || address % (wide ? 8 : 4))
        return CUDA_ERROR_INVALID_VALUE;
    if (!soft_address_known(call.tenant, address, wide ? 8 : 4))
        return CUDA_ERROR_INVALID_VALUE;
    struct soft_op *op = soft_op_new(kind, 0);
    if (!op)
        return CUDA_ERROR_OUT_OF_MEMORY;
    op->value = (struct soft_value){address, value, flags, wide};
    soft_lock();
    result = soft_stream_get(&call, handle, &stream);
    if (result == CUDA_SUCCESS && kind == SOFT_OP_AWAIT)
        result = soft_await_start();
    if (result == CUDA_SUCCESS)
        result = soft_submit(stream, op);
    else
        soft_op_free(op);
    soft_unlock();
    return result;
}

#define VALUE_API(name, kind, type, wide)                                                          \
    SOFT_API CUresult name(CUstream stream, CUdeviceptr address, type value, unsigned int flags)   \
    {                                                                                              \
        return submit_value(kind, stream, address, value, flags, wide);                            \
    }

VALUE_API(cuStreamWriteValue32, SOFT_OP_WRITE, cuuint32_t, false)
VALUE_API(cuStreamWriteValue32_v2, SOFT_OP_WRITE, cuuint32_t, false)
VALUE_API(cuStreamWriteValue64, SOFT_OP_WRITE, cuuint64_t, true)
VALUE_API(cuStreamWriteValue64_v2, SOFT_OP_WRITE, cuuint64_t, true)
VALUE_API(cuStreamWaitValue32, SOFT_OP_AWAIT, cuuint32_t, false)
VALUE_API(cuStreamWaitValue32_v2, SOFT_OP_AWAIT, cuuint32_t, false)
VALUE_API(cuStreamWaitValue64, SOFT_OP_AWAIT, cuuint64_t, true)
VALUE_API(cuStreamWaitValue64_v2, SOFT_OP_AWAIT, cuuint64_t, true)

/* One after the other: each is in stream order anyway. The first that is refused ends the batch. */
SOFT_API CUresult cuStreamBatchMemOp_v2(CUstream stream, unsigned int count,
                                        CUstreamBatchMemOpParams *ops, unsigned int flags)
{
    CUresult result = flags || (count && !ops) ? CUDA_ERROR_INVALID_VALUE : CUDA_SUCCESS;
    for (unsigned i = 0; i < count && result == CUDA_SUCCESS; i++) {
        const CUstreamBatchMemOpParams *op = &ops[i];
        switch (op->operation) {
        case CU_STREAM_MEM_OP_WAIT_VALUE_32:
            result = cuStreamWaitValue32_v2(stream, op->waitValue.address, op->waitValue.value,
                                            op->waitValue.flags);
            break;
        case CU_STREAM_MEM_OP_WAIT_VALUE_64:
            result = cuStreamWaitValue64_v2(stream, op->waitValue.address, op->waitValue.value64,
                                            op->waitValue.flags);
            break;
        case CU_STREAM_MEM_OP_WRITE_VALUE_32:
            result = cuStreamWriteValue32_v2(stream, op->writeValue.address, op->writeValue.value,
                                             op->writeValue.flags);
            break;
        case CU_STREAM_MEM_OP_WRITE_VALUE_64:
            result = cuStreamWriteValue64_v2(stream, op->writeValue.address, op->writeValue.value64,
                                             op->writeValue.flags);
            break;
        case CU_STREAM_MEM_OP_BARRIER:
            break; /* order is kept without it */
        default:
            result = CUDA_ERROR_NOT_SUPPORTED;
        }
    }
    return result;
}

SOFT_API CUresult cuStreamBatchMemOp(CUstream stream, unsigned int count,
                                     CUstreamBatchMemOpParams *ops, unsigned int flags)
{
    return cuStreamBatchMemOp_v2(stream, count, ops, flags);
}
