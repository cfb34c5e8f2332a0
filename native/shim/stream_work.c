#include "stream_work.h"

#include "channel.h"
#include "tally/assert.h"

CUresult shim_stream_submit(const struct shim_stream_ref *ref, const struct shim_work *work)
{
    TALLY_ASSERT(ref->channel && ref->wire); /* resolved */
    TALLY_ASSERT(!work->message == !!work->op && !(work->message && work->call));
    if (work->message)
        return shim_channel_post(ref->channel, work->message);
    if (work->call)
        return shim_call_begin(ref->channel, work->call, work->op, work->op_bytes, work->tail,
                               work->tail_bytes);
    return shim_send(ref->channel, work->op, work->op_bytes, work->tail, work->tail_bytes);
}

CUresult shim_stream_submit_sync(const struct shim_stream_ref *ref, const struct shim_work *work)
{
    CUresult result = shim_stream_submit(ref, work);
    if (!result)
        result = shim_call_end(ref->channel, work->call);
    CUresult earlier = shim_take_async_error(ref->channel);
    return earlier ? earlier : result;
}

static CUresult submit_question(const struct shim_stream_ref *ref, uint16_t code)
{
    struct tally_op_stream op = {.op.code = code, .stream = ref->wire};
    struct tally_reply reply;
    struct shim_call call = {.reply = &reply, .reply_bytes = sizeof reply, .leavable = true};
    return shim_stream_submit_sync(ref, &(struct shim_work){SHIM_WORK(op), .call = &call});
}

SHIM_RARE CUresult shim_stream_wait(const struct shim_stream_ref *ref)
{
    return submit_question(ref, TALLY_OP_STREAM_SYNC);
}

SHIM_RARE CUresult shim_stream_query(const struct shim_stream_ref *ref)
{
    return submit_question(ref, TALLY_OP_STREAM_QUERY);
}
