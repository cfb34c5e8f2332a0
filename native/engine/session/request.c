#include "engine/session/request.h"

#include "engine/launch/trace.h"
#include "engine/parts.h"
#include "engine/session/session.h"

void request_init(struct session *session) { pthread_mutex_init(&session->request.lock, NULL); }

void request_close(struct session *session) { pthread_mutex_destroy(&session->request.lock); }

void request_work(struct session *session, uint64_t now_ns)
{
    struct request *request = &session->request;
    pthread_mutex_lock(&request->lock);
    request->work++;
    if (!request->started_ns)
        request->started_ns = now_ns;
    pthread_mutex_unlock(&request->lock);
}

uint64_t request_mark(struct session *session)
{
    struct request *request = &session->request;
    pthread_mutex_lock(&request->lock);
    uint64_t mark = request->work;
    pthread_mutex_unlock(&request->lock);
    return mark;
}

void request_done(struct session *session, uint64_t mark)
{
    struct request *request = &session->request;
    uint64_t started_ns = 0;
    pthread_mutex_lock(&request->lock);
    if (request->work == mark) {
        started_ns = request->started_ns;
        request->started_ns = 0;
    }
    pthread_mutex_unlock(&request->lock);
    if (!started_ns)
        return;
    uint64_t now_ns = engine_now_ns();
    tally_histogram_add(&session->stats.timings[TALLY_TIME_REQUEST], now_ns - started_ns);
    struct trace *trace = &session->engine->trace;
    if (trace_is_on(trace))
        trace_add(trace, &(struct tally_trace_record){.kind = TALLY_TRACE_REQUEST,
                                                      .session = session->config.session,
                                                      .submit_ns = started_ns,
                                                      .end_ns = now_ns});
}
