#include "engine/session/news.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "engine/session/session.h"
#include "engine/session/waiter.h"

struct item {
    struct item *next;
    struct session *closed; /* to be destroyed when the event is taken */
    struct tally_engine_event event;
};

struct news {
    pthread_mutex_t lock; /* innermost */
    struct item *first, *last;
    int fd;
};

struct news *news_create(void)
{
    struct news *news = calloc(1, sizeof *news);
    if (!news)
        return NULL;
    pthread_mutex_init(&news->lock, NULL);
    news->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (news->fd >= 0)
        return news;
    news_destroy(news);
    return NULL;
}

void news_destroy(struct news *news)
{
    if (!news)
        return;
    if (news->fd >= 0)
        close(news->fd);
    pthread_mutex_destroy(&news->lock);
    free(news);
}

int news_fd(const struct news *news) { return news->fd; }

static void append(struct news *news, struct item *item)
{
    pthread_mutex_lock(&news->lock);
    *(news->last ? &news->last->next : &news->first) = item;
    news->last = item;
    eventfd_write(news->fd, 1);
    pthread_mutex_unlock(&news->lock);
}

static void post(struct session *session, uint32_t type, CUresult error, struct session *closed,
                 const char *text)
{
    struct item *item = calloc(1, sizeof *item);
    if (!item)
        return;
    item->closed = closed;
    item->event.type = type;
    item->event.error = (int32_t)error;
    item->event.session = session->config.session;
    snprintf(item->event.reason, sizeof item->event.reason, "%s", text);
    tally_stats_read(&session->stats, &item->event.stats);
    append(session->engine->news, item);
}

void news_post(struct session *session, uint32_t type, CUresult error, const char *text)
{
    post(session, type, error, NULL, text);
}

void news_post_closed(struct session *session)
{
    post(session, TALLY_ENGINE_CLOSED, CUDA_SUCCESS, session, session->reason);
}

int news_take(struct news *news, struct tally_engine_event *event, struct session **closed)
{
    pthread_mutex_lock(&news->lock);
    struct item *item = news->first;
    if (item) {
        news->first = item->next;
        if (!news->first)
            news->last = NULL;
    } else {
        eventfd_t drained;
        eventfd_read(news->fd, &drained);
    }
    pthread_mutex_unlock(&news->lock);
    *closed = item ? item->closed : NULL;
    if (!item)
        return 0;
    *event = item->event;
    free(item);
    return 1;
}
