/* The scheduler's numbers for streams. A session has queues_max of them (stream_queues_max in
 * tallyd's config), and may have any number of streams: a stream needs one only while launches of
 * it are in the books, and takes that of an idle one. */
#ifndef TALLY_ENGINE_QUEUES_H
#define TALLY_ENGINE_QUEUES_H

#include <stdbool.h>
#include <stdint.h>

struct session;
struct stream;

uint32_t queues_max(const struct session *session);
/* Session thread, before a launch. false: launches of as many other streams are with the device. */
bool queue_take(struct session *session, struct stream *stream);
/* The same, but waits until there is one; false: the session ends. */
bool queue_wait(struct session *session, struct stream *stream);
/* The stream is about to go; under streams_lock. */
void queue_give(struct session *session, struct stream *stream);
/* NULL, or what is wrong. Any thread. */
const char *queues_validate(struct session *session);

#endif
