/* The core is told of an event, and its instructions are carried out. Under the schedule's lock. */
#ifndef TALLY_ENGINE_FEED_H
#define TALLY_ENGINE_FEED_H

#include <stdint.h>

#include "engine/launch/books.h"

/* 0, or the core's error. */
int schedule_feed(struct schedule *s, const struct tally_sched_event *event);
int schedule_feed_at(struct schedule *s, const struct tally_sched_event *event, uint64_t now_ns);
/* For the session's thread, which waits for its turn, or for ops while a launch that it let go was
 * stopped. */
void give_todo(struct pending *pending, const struct tally_sched_instruction *in);

#endif
