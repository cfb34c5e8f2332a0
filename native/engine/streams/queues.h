/* The scheduler's numbers for streams. A session has queues_max of them (stream_queues_max in
 * tallyd's config), and may have any number of streams: a stream needs one only while launches of
 * it are in the books, and takes that of an idle one. */
#ifndef TALLY_ENGINE_QUEUES_H
#define TALLY_ENGINE_QUEUES_H

#include <stdbool.h>
#include <stdint.h>

#define SESSION_QUEUES_MAX 1024u /* whatever stream_queues_max says */
#define QUEUE_NONE UINT32_MAX

struct session;
struct stream;

uint32_t queues_max(const struct session *session);
/* Session thread. false: all are in use. */
bool queue_take_free(struct session *session, struct stream *stream);
/* From the stream that has the place, and of whose launches nothing is in the books; false: it is
 * QUEUE_NONE. */
bool queue_take_over(struct session *session, struct stream *stream, uint32_t place);
/* The stream is about to go; under the lock of the streams. */
void queue_give(struct session *session, struct stream *stream);
/* NULL, or what is wrong. Any thread. */
const char *queues_validate(struct session *session);

#endif
