#include "engine/session/notice.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "engine/session/ending.h"
#include "engine/session/news.h"
#include "engine/session/output.h"
#include "engine/session/session.h"

#define PREFIX "tally: "

void notices_open(struct notices *notices) { pthread_mutex_init(&notices->lock, NULL); }

void notices_close(struct notices *notices) { pthread_mutex_destroy(&notices->lock); }

static uint64_t hash_of(const char *text)
{
    uint64_t hash = 0xcbf29ce484222325ull; /* FNV-1a */
    for (; *text; text++)
        hash = (hash ^ (uint8_t)*text) * 0x100000001b3ull;
    return hash;
}

static bool is_new(struct notices *notices, const char *text)
{
    uint64_t hash = hash_of(text);
    pthread_mutex_lock(&notices->lock);
    bool wanted = notices->count < NOTICES_MAX;
    for (uint32_t i = 0; i < notices->count; i++)
        wanted &= notices->seen[i] != hash;
    if (wanted)
        notices->seen[notices->count++] = hash;
    pthread_mutex_unlock(&notices->lock);
    return wanted;
}

/* Kernels' names and compilers' words may hold anything; a terminal gets one line of plain text. */
static void make_plain(char *text)
{
    for (; *text; text++)
        if ((unsigned char)*text < ' ' || *text == 0x7f)
            *text = ' ';
}

void session_tell(struct session *session, const char *format, ...)
{
    char line[sizeof PREFIX + TALLY_REASON_BYTES + 1] = PREFIX;
    char *text = line + sizeof PREFIX - 1;
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, TALLY_REASON_BYTES, format, arguments);
    va_end(arguments);
    make_plain(text);
    if (!is_new(&session->notices, text))
        return;
    news_post(session, TALLY_ENGINE_NOTICE, CUDA_SUCCESS, text);
    strcat(text, "\n");
    session_output(session, 2, line, strlen(line));
    session_call(session);
}
