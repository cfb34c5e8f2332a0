#include "engine/session/fault.h"

#include <string.h>

#include "engine/device/driver.h"
#include "engine/launch/report.h"
#include "engine/parts.h"
#include "engine/session/news.h"
#include "engine/session/notice.h"
#include "engine/session/roster.h"
#include "engine/session/segment.h"
#include "engine/session/session.h"

/* The program knows its kernel by the name without what rewriting appends. */
static void cut_suffix(char *text, const char *suffix)
{
    char *at = strstr(text, suffix);
    if (at)
        memmove(at, at + strlen(suffix), strlen(at + strlen(suffix)) + 1);
}

/* softgpu says which kernel it was, a GPU does not. */
static void explain_fault(struct session *session, CUresult result, char text[TALLY_REASON_BYTES])
{
    text[0] = 0;
    session->driver->ops->tenant_fault(session->driver, session->tenant, text, TALLY_REASON_BYTES);
    cut_suffix(text, TALLY_GUARDED_SUFFIX);
    cut_suffix(text, TALLY_SUBGRID_SUFFIX);
    if (!text[0])
        driver_error_text(session->driver, result, text, TALLY_REASON_BYTES);
}

/* The context is gone for everybody: all sessions are told, the process must be replaced. */
static void lose_device(struct session *session, CUresult error, const char *text)
{
    struct tally_engine *engine = session->engine;
    roster_poison_others(engine->roster, session, error);
    if (!atomic_exchange(&engine->lost, true))
        news_post(session, TALLY_ENGINE_LOST, error, text);
}

void session_note(struct session *session, CUresult result)
{
    if (!driver_error_is_sticky(result) || session->ending)
        return;
    int well = CUDA_SUCCESS;
    if (!atomic_compare_exchange_strong(&session->sticky, &well, (int)result))
        return;
    char text[TALLY_REASON_BYTES];
    explain_fault(session, result, text);
    __atomic_store_n(&session->stats.sticky_error, (int32_t)result, __ATOMIC_RELAXED);
    session_tell(session, "%s", text); /* ahead of the word: who sees that finds the line soon */
    segment_set_sticky(session, result);
    schedule_session_failed(session, result);
    news_post(session, TALLY_ENGINE_FAULT, result, text);
    if (!session->driver->ops->keeps_faults)
        lose_device(session, result, text);
}
