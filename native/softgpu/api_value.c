/* Stream-ordered writes of, and waits for, one value in memory. */
#include "address_check.h"
#include "queue.h"

static CUresult submit_value(enum soft_op_kind kind, CUstream handle, CUdeviceptr address, uint64_t value,
                             unsigned int flags, bool wide)
{
    struct soft_call call;
    struct soft_stream *stream;
    CUresult result = soft_enter(&call);
    if (result != CUDA_SUCCESS)
        return result;
    unsigned allowed = kind == SOFT_OP_AWAIT ? 3u : (unsigned)CU_STREAM_WRITE_VALUE_NO_MEMORY_BARRIER;
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

#define VALUE_API(name, kind, type, wide)                                                               \
    SOFT_API CUresult name(CUstream stream, CUdeviceptr address, type value, unsigned int flags)       \
    {                                                                                                  \
        return submit_value(kind, stream, address, value, flags, wide);                                \
    }

VALUE_API(cuStreamWriteValue32, SOFT_OP_WRITE, cuuint32_t, false)
VALUE_API(cuStreamWriteValue32_v2, SOFT_OP_WRITE, cuuint32_t, false)
VALUE_API(cuStreamWriteValue64, SOFT_OP_WRITE, cuuint64_t, true)
VALUE_API(cuStreamWriteValue64_v2, SOFT_OP_WRITE, cuuint64_t, true)
VALUE_API(cuStreamWaitValue32, SOFT_OP_AWAIT, cuuint32_t, false)
VALUE_API(cuStreamWaitValue32_v2, SOFT_OP_AWAIT, cuuint32_t, false)
VALUE_API(cuStreamWaitValue64, SOFT_OP_AWAIT, cuuint64_t, true)
VALUE_API(cuStreamWaitValue64_v2, SOFT_OP_AWAIT, cuuint64_t, true)
