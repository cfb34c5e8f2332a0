/* What a session does, or answers, once the device has got there. */
#ifndef TALLY_ENGINE_LATER_H
#define TALLY_ENGINE_LATER_H

#include "engine/ops/message.h"
#include "engine/session/waiter.h"

struct stream;

/* An item that waits for all work of the session so far; NULL: short of memory. May have no
 * events. */
struct wait_item *streams_mark(struct session *session);
/* Runs item->done once prior work of all streams is done: now, if there is none. */
void session_defer(struct session *session, wait_done *done, const uint64_t arguments[3]);
/* Hands a blocking call to a waiting thread, which answers it. */
void session_answer_later(struct session *session, struct wait_item *item,
                          const struct message *message);
/* Answers `op` once what is in the stream now is done: at once if it already is. */
void stream_answer_when_done(struct session *session, struct stream *stream,
                             const struct message *message, CUresult result);

#endif
