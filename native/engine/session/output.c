#include "engine/session/output.h"

#include <stdlib.h>
#include <string.h>

#include "engine/session/session.h"

/* What the device printed since the last time; the caller frees it. */
char *output_take(struct replies *replies, int i, size_t *bytes)
{
    pthread_mutex_lock(&replies->output_lock);
    char *text = replies->output[i];
    *bytes = replies->output_bytes[i];
    replies->output[i] = NULL;
    replies->output_bytes[i] = 0;
    pthread_mutex_unlock(&replies->output_lock);
    return text;
}

/* From the device's worker threads, which must never wait for a client: nothing is sent here. */
void session_output(struct session *session, int fd, const char *text, size_t bytes)
{
    struct replies *replies = &session->replies;
    int i = fd == 2 ? 1 : 0;
    pthread_mutex_lock(&replies->output_lock);
    if (!replies->output[i])
        replies->output[i] = malloc(OUTPUT_BYTES_MAX);
    size_t room = replies->output[i] ? OUTPUT_BYTES_MAX - replies->output_bytes[i] : 0;
    size_t kept = bytes < room ? bytes : room;
    if (kept) {
        memcpy(replies->output[i] + replies->output_bytes[i], text, kept);
        replies->output_bytes[i] += kept;
        replies->output_waiting = true;
    }
    pthread_mutex_unlock(&replies->output_lock);
    if (kept < bytes)
        tally_stats_add(&session->stats, TALLY_COUNT_OUTPUT_LOST_BYTES, bytes - kept);
}
