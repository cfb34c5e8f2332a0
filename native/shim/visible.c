/* A list is one of indices, of GPU- or of MIG- names; the first entry says which. An entry that
 * names no device hides itself and all behind it; one that repeats a device hides all. A name may
 * be cut short as long as it fits one device only. torch reads the variable by the same rules
 * before it asks the driver. Of MIG instances a process sees one at most, as CUDA documents: the
 * list's first. */
#include "visible.h"

#include <ctype.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tell.h"

#define UUID_TEXT_BYTES 37 /* 8-4-4-4-12 and a NUL */
#define NOT_FOUND UINT32_MAX

struct devices {
    const struct tally_device_info *info;
    uint32_t count;
    uint32_t order[TALLY_DEVICES_MAX]; /* indices into `info`, as programs count them */
};

struct word {
    const char *at;
    size_t bytes;
};

static bool starts_with(struct word word, const char *prefix)
{
    size_t bytes = strlen(prefix);
    return word.bytes >= bytes && memcmp(word.at, prefix, bytes) == 0;
}

/* The next entry, without the white space around it; false at the end of the list. */
static bool next_word(const char **list, struct word *word)
{
    if (!*list)
        return false;
    const char *at = *list, *comma = strchr(at, ',');
    size_t bytes = comma ? (size_t)(comma - at) : strlen(at);
    *list = comma ? comma + 1 : NULL;
    for (; bytes && isspace((unsigned char)*at); at++, bytes--) {
    }
    for (; bytes && isspace((unsigned char)at[bytes - 1]); bytes--) {
    }
    *word = (struct word){at, bytes};
    return true;
}

/* As strtoul reads it: digits count up to the first other character. */
static uint32_t by_index(const struct devices *devices, struct word word)
{
    size_t at = word.bytes && word.at[0] == '+' ? 1 : 0;
    if (at == word.bytes || !isdigit((unsigned char)word.at[at]))
        return NOT_FOUND;
    uint32_t index = 0;
    for (; at < word.bytes && isdigit((unsigned char)word.at[at]); at++) {
        index = 10 * index + (uint32_t)(word.at[at] - '0');
        if (index >= devices->count)
            return NOT_FOUND;
    }
    return devices->order[index];
}

/* The driver says so in the name of a MIG instance ("NVIDIA A100-SXM4-40GB MIG 1g.5gb"). */
static bool is_mig(const struct tally_device_info *info)
{
    return memmem(info->name, sizeof info->name, "MIG ", 4) != NULL;
}

static void uuid_text(const struct tally_device_info *info, char text[UUID_TEXT_BYTES])
{
    const unsigned char *u = (const unsigned char *)info->uuid;
    snprintf(text, UUID_TEXT_BYTES,
             "%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x", u[0], u[1],
             u[2], u[3], u[4], u[5], u[6], u[7], u[8], u[9], u[10], u[11], u[12], u[13], u[14],
             u[15]);
}

/* The one device whose UUID starts with the word behind its prefix. */
static uint32_t by_uuid(const struct devices *devices, struct word word, bool mig)
{
    const size_t prefix = strlen("GPU-");
    word.at += prefix;
    word.bytes -= prefix;
    uint32_t found = NOT_FOUND;
    for (uint32_t i = 0; i < devices->count; i++) {
        char text[UUID_TEXT_BYTES];
        const struct tally_device_info *info = &devices->info[devices->order[i]];
        uuid_text(info, text);
        if (is_mig(info) != mig || word.bytes >= UUID_TEXT_BYTES ||
            strncasecmp(text, word.at, word.bytes) != 0)
            continue;
        if (found != NOT_FOUND)
            return NOT_FOUND;
        found = devices->order[i];
    }
    return found;
}

/* The older form, MIG-GPU-UUID/INSTANCE/COMPUTE, names an instance by its GPU and numbers. The
 * driver tells neither of a device that is an instance, so it fits none. */
static void tell_older_form(const struct devices *devices)
{
    for (uint32_t i = 0; i < devices->count; i++)
        if (is_mig(&devices->info[i])) {
            shim_tell("CUDA_VISIBLE_DEVICES: Tally knows MIG instances by their own names only, "
                      "MIG-UUID as "
                      "`nvidia-smi -L` shows them");
            return;
        }
}

enum form { FORM_INDEX, FORM_GPU, FORM_MIG };

static enum form form_of(struct word word)
{
    return starts_with(word, "GPU-") ? FORM_GPU : starts_with(word, "MIG-") ? FORM_MIG : FORM_INDEX;
}

static uint32_t find(const struct devices *devices, struct word word, enum form form)
{
    if (form_of(word) != form)
        return NOT_FOUND;
    if (starts_with(word, "MIG-GPU-"))
        tell_older_form(devices);
    return form == FORM_INDEX ? by_index(devices, word) : by_uuid(devices, word, form == FORM_MIG);
}

static uint32_t choose(const struct devices *devices, const char *list, uint32_t out[])
{
    struct word word;
    uint32_t chosen = 0;
    enum form form = FORM_INDEX;
    for (bool first = true; next_word(&list, &word); first = false) {
        form = first ? form_of(word) : form;
        uint32_t device = find(devices, word, form);
        if (device == NOT_FOUND)
            break;
        for (uint32_t i = 0; i < chosen; i++)
            if (out[i] == device)
                return 0;
        out[chosen++] = device;
        if (form == FORM_MIG)
            break;
    }
    return chosen;
}

/* By bus id; "FASTEST_FIRST", the default, is the order in which tallyd has them. */
static void sort(struct devices *devices)
{
    for (uint32_t i = 1; i < devices->count; i++)
        for (uint32_t j = i; j > 0; j--) {
            uint32_t *a = &devices->order[j - 1], *b = &devices->order[j], swap = *a;
            if (strncasecmp(devices->info[*a].pci_bus_id, devices->info[*b].pci_bus_id,
                            sizeof devices->info->pci_bus_id) <= 0)
                break;
            *a = *b;
            *b = swap;
        }
}

uint32_t shim_visible_devices(const struct tally_device_info *info, uint32_t count,
                              const char *list, const char *order, uint32_t out[])
{
    struct devices devices = {.info = info, .count = count};
    for (uint32_t i = 0; i < count; i++)
        devices.order[i] = i;
    if (order && strcmp(order, "PCI_BUS_ID") == 0)
        sort(&devices);
    if (list)
        return choose(&devices, list, out);
    memcpy(out, devices.order, count * sizeof *out);
    return count;
}
