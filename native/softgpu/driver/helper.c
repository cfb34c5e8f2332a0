/* Two threads for what must not hold up a worker: host functions, which may take any time, and
 * stream waits on memory, which anybody may write without telling us. Both start with their first
 * job. */
#include <time.h>

#include "queue.h"

#define AWAIT_NS_MIN 20000
#define AWAIT_NS_MAX 500000

static bool host_started, await_started;
static struct soft_op *host_head, *host_tail; /* by ready_next, in submission order */
static struct soft_op *awaits;                /* by ready_next */
static pthread_cond_t host_work = PTHREAD_COND_INITIALIZER;
static pthread_cond_t await_work = PTHREAD_COND_INITIALIZER;

/* ---- host functions ------------------------------------------------------------------------- */

static void call_host(struct soft_op *op)
{
    CUresult error = (CUresult)atomic_load(&op->stream->tenant->error);
    CUstream stream = (CUstream)op->stream->object.handle;
    soft_unlock();
    if (op->host.callback) /* cuStreamAddCallback: also told of errors */
        op->host.callback(stream, error, op->host.user);
    else if (error == CUDA_SUCCESS)
        op->host.call(op->host.user);
    soft_lock();
}

static void *host_main(void *unused)
{
    soft_lock();
    for (;;) {
        struct soft_op *op = host_head;
        if (!op) {
            pthread_cond_wait(&host_work, &soft.lock);
            continue;
        }
        host_head = op->ready_next;
        if (!host_head)
            host_tail = NULL;
        call_host(op);
        soft_complete(op);
        soft_await_check();
    }
    return NULL;
}

void soft_host_enqueue(struct soft_op *op)
{
    op->ready_next = NULL;
    if (host_tail)
        host_tail->ready_next = op;
    else
        host_head = op;
    host_tail = op;
    pthread_cond_signal(&host_work);
}

/* ---- waits on memory ------------------------------------------------------------------------ */

void soft_await_check(void)
{
    /* Completing one op may, through the streams that it moves on, change the list: begin again
     * then. */
    for (struct soft_op **link = &awaits; *link;) {
        struct soft_op *op = *link;
        enum soft_await state = soft_value_reached(&op->value);
        if (state == SOFT_AWAIT_NO) {
            link = &op->ready_next;
            continue;
        }
        if (state == SOFT_AWAIT_BAD) {
            /* Cancels this one too. */
            soft_tenant_fail(op->stream->tenant, CUDA_ERROR_ILLEGAL_ADDRESS);
        } else {
            *link = op->ready_next;
            soft_complete(op);
        }
        link = &awaits;
    }
}

void soft_await_cancel(struct soft_op *op)
{
    struct soft_op **link = &awaits;
    while (*link != op)
        link = &(*link)->ready_next;
    *link = op->ready_next;
}

void soft_await_enqueue(struct soft_op *op)
{
    op->ready_next = awaits;
    awaits = op;
    pthread_cond_signal(&await_work);
}

static void *await_main(void *unused)
{
    uint64_t pause_ns = AWAIT_NS_MIN;
    soft_lock();
    for (;;) {
        if (!awaits) {
            pthread_cond_wait(&await_work, &soft.lock);
            pause_ns = AWAIT_NS_MIN;
            continue;
        }
        soft_unlock();
        nanosleep(&(struct timespec){.tv_nsec = (long)pause_ns}, NULL);
        pause_ns = pause_ns * 2 < AWAIT_NS_MAX ? pause_ns * 2 : AWAIT_NS_MAX;
        soft_lock();
        soft_await_check();
    }
    return NULL;
}

/* ---- start ---------------------------------------------------------------------------------- */

static CUresult start(bool *started, void *(*main)(void *))
{
    pthread_t thread;
    if (*started)
        return CUDA_SUCCESS;
    if (pthread_create(&thread, NULL, main, NULL) != 0)
        return CUDA_ERROR_OUT_OF_MEMORY;
    pthread_detach(thread);
    *started = true;
    return CUDA_SUCCESS;
}

CUresult soft_host_start(void) { return start(&host_started, host_main); }

CUresult soft_await_start(void) { return start(&await_started, await_main); }
