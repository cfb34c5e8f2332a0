#include "engine/launch/rescue_end.h"

#include "engine/launch/books.h"
#include "engine/launch/control.h"
#include "engine/launch/feed.h"

bool rescue_ended(struct schedule *s, struct pending *pending, struct start *start)
{
    if (pending->rescue_parts == 0)
        return false;
    struct tally_sched_event event = {
        .type = TALLY_SCHED_FINISHED,
        .launch = start->launch,
        .lo = pending->rescue_lo,
        .hi = pending->blocks,
    };
    uint32_t slot = start->beside ? RESCUE_SLOT : pending->slot;
    pending->rescue_ran += control_read(pending->session, slot);
    if (!start->beside)
        pending->rescue_lo = event.lo = start->lo;
    start_give(s, start);
    if (--pending->rescue_parts > 0)
        return true;
    control_lower(pending->session, pending->slot);
    pending->flag_ns = 0;
    if (pending->rescue_ran < pending->blocks) { /* the program has overwritten our marks */
        pending->error = CUDA_ERROR_LAUNCH_FAILED;
        event.type = TALLY_SCHED_FAILED;
    }
    schedule_feed(s, &event);
    return true;
}
