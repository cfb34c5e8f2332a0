/* What happens without being asked for, until the engine's owner takes it
 * (tally_engine_next_event). */
#ifndef TALLY_ENGINE_NEWS_H
#define TALLY_ENGINE_NEWS_H

#include "engine/engine.h"
#include "tally/cuda.h"

struct news;
struct session;

struct news *news_create(void);       /* NULL and errno */
void news_destroy(struct news *news); /* NULL: nothing */
int news_fd(const struct news *news); /* readable while there are some */

/* type: enum tally_engine_event_type; text: its reason. Short of memory, the event is lost; a
 * session is found closed all the same. Any thread. */
void news_post(struct session *session, uint32_t type, CUresult error, const char *text);
/* The same of the session's end: *closed of news_take will be the session, which is then to be
 * destroyed. */
void news_post_closed(struct session *session);
/* 1 and the oldest, or 0. */
int news_take(struct news *news, struct tally_engine_event *event, struct session **closed);

#endif
