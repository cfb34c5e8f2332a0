#include "texts.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "channel.h"
#include "shelter.h"

struct shim_text {
    struct shim_text *next;
    bool to_stderr;
    size_t count;
    uint8_t bytes[];
};

void shim_text_add_locked(struct shim_channel *channel, bool to_stderr, const uint8_t *bytes,
                          size_t count) REQUIRES(channel->call_lock)
{
    struct shim_text *text = malloc(sizeof *text + count);
    if (!text)
        return;
    text->next = NULL;
    text->to_stderr = to_stderr;
    text->count = count;
    memcpy(text->bytes, bytes, count);
    *channel->last_text = text;
    channel->last_text = &text->next;
}

static SHIM_RARE void write_all(struct shim_text *text)
{
    while (text) {
        FILE *file = text->to_stderr ? stderr : stdout;
        struct shim_text *next = text->next;
        fwrite(text->bytes, 1, text->count, file);
        fflush(file); /* a program that ends by _exit would lose it */
        free(text);
        text = next;
    }
}

void shim_texts_write(struct shim_channel *channel)
{
    if (!__atomic_load_n(&channel->texts, __ATOMIC_RELAXED))
        return;
    struct shim_shelter shelter;
    shim_shelter_enter(&shelter);
    shim_lock_take(&channel->call_lock);
    struct shim_text *texts = channel->texts;
    channel->texts = NULL;
    channel->last_text = &channel->texts;
    shim_lock_give(&channel->call_lock);
    shim_shelter_leave(&shelter);
    write_all(texts);
}
