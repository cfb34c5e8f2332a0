/* printf and assert of device code. Strings and arguments lie in memory that the kernel named:
 * every byte is reached like a load of the kernel's, so a bad pointer is the kernel's fault and
 * nobody else's. */
#include <stdio.h>
#include <string.h>

#include "block.h"

#define LINE_BYTES 4096u
#define SPEC_BYTES 32u

struct line {
    char text[LINE_BYTES];
    size_t used;
};

static void put(struct line *line, const char *text, size_t bytes)
{
    if (bytes > LINE_BYTES - line->used)
        bytes = LINE_BYTES - line->used;
    memcpy(line->text + line->used, text, bytes);
    line->used += bytes;
}

/* An abort must not leave the sink's lock held. */
static void emit(struct soft_warp *warp, int fd, const struct line *line)
{
    struct soft_worker *worker = warp->worker;
    worker->critical = 1;
    soft_emit(warp->launch->tenant, fd, line->text, line->used);
    worker->critical = 0;
}

static char byte_at(struct soft_warp *warp, uint64_t address)
{
    return *(const char *)soft_help_access(warp, address, 1, SOFT_GENERIC);
}

/* Copies a string of at most room - 1 bytes. */
static size_t fetch_string(struct soft_warp *warp, uint64_t address, char *out, size_t room)
{
    size_t n = 0;
    if (!address)
        return (size_t)snprintf(out, room, "(null)");
    while (n + 1 < room && (out[n] = byte_at(warp, address + n)))
        n++;
    out[n] = 0;
    return n;
}

static uint64_t fetch_argument(struct soft_warp *warp, uint64_t *cursor, uint32_t bytes)
{
    *cursor = (*cursor + bytes - 1) & ~(uint64_t)(bytes - 1);
    const void *where = soft_help_access(warp, *cursor, bytes, SOFT_GENERIC);
    *cursor += bytes;
    if (bytes == 8)
        return *(const uint64_t *)where;
    return *(const uint32_t *)where;
}

struct spec {
    char text[SPEC_BYTES + 8]; /* "%-8.3" so far */
    size_t used;
    bool wide; /* l, ll, j, z, t: the argument has 8 bytes */
};

static void put_spec(struct spec *spec, char c)
{
    if (spec->used < SPEC_BYTES)
        spec->text[spec->used++] = c;
    spec->text[spec->used] = 0;
}

/* Reads flags, width, precision and length after a %; the conversion's letter is what follows. */
static void read_spec(struct soft_warp *warp, const char **format, uint64_t *cursor,
                      struct spec *spec)
{
    const char *at = *format;
    *spec = (struct spec){.text = "%", .used = 1};
    for (; *at && strchr("-+ #0123456789.*hljztL", *at); at++) {
        if (*at == '*') {
            char number[16];
            int32_t value = (int32_t)fetch_argument(warp, cursor, 4);
            snprintf(number, sizeof number, "%d",
                     value > 1000    ? 1000
                     : value < -1000 ? -1000
                                     : value);
            for (const char *digit = number; *digit; digit++)
                put_spec(spec, *digit);
        } else if (strchr("ljzt", *at)) {
            spec->wide = true;
        } else if (!strchr("hL", *at)) {
            put_spec(spec, *at);
        }
    }
    *format = at;
}

static void put_number(struct line *line, struct spec *spec, char conversion, uint64_t value)
{
    char text[1100];
    int n;
    if (strchr("di", conversion)) {
        put_spec(spec, 'l');
        put_spec(spec, 'd');
        n = snprintf(text, sizeof text, spec->text,
                     spec->wide ? (long)value : (long)(int32_t)value);
    } else if (conversion == 'c') {
        put_spec(spec, 'c');
        n = snprintf(text, sizeof text, spec->text, (int)(unsigned char)value);
    } else {
        put_spec(spec, 'l');
        put_spec(spec, conversion);
        n = snprintf(text, sizeof text, spec->text,
                     spec->wide ? (unsigned long)value : (unsigned long)(uint32_t)value);
    }
    put(line, text, n < 0 ? 0 : (size_t)n < sizeof text ? (size_t)n : sizeof text - 1);
}

static void put_conversion(struct soft_warp *warp, struct line *line, struct spec *spec,
                           char conversion, uint64_t *cursor)
{
    char text[1100];
    int n = 0;
    switch (conversion) {
    case '%':
        put(line, "%", 1);
        return;
    case 'd':
    case 'i':
    case 'u':
    case 'o':
    case 'x':
    case 'X':
    case 'c':
        put_number(line, spec, conversion, fetch_argument(warp, cursor, spec->wide ? 8 : 4));
        return;
    case 'p':
        put_spec(spec, 'p');
        n = snprintf(text, sizeof text, spec->text,
                     (void *)(uintptr_t)fetch_argument(warp, cursor, 8));
        break;
    case 's': {
        char string[1024];
        fetch_string(warp, fetch_argument(warp, cursor, 8), string, sizeof string);
        put_spec(spec, 's');
        n = snprintf(text, sizeof text, spec->text, string);
        break;
    }
    case 'a':
    case 'A':
    case 'e':
    case 'E':
    case 'f':
    case 'F':
    case 'g':
    case 'G': {
        uint64_t bits = fetch_argument(warp, cursor, 8);
        double value;
        memcpy(&value, &bits, 8);
        put_spec(spec, conversion);
        n = snprintf(text, sizeof text, spec->text, value);
        break;
    }
    default: /* not a conversion: printed as it stands */
        put(line, spec->text, spec->used);
        if (conversion)
            put(line, &conversion, 1);
        return;
    }
    put(line, text, n < 0 ? 0 : (size_t)n < sizeof text ? (size_t)n : sizeof text - 1);
}

static void print_lane(struct soft_warp *warp, struct line *line, uint64_t format_address,
                       uint64_t cursor)
{
    char format[LINE_BYTES];
    fetch_string(warp, format_address, format, sizeof format);
    for (const char *at = format; *at;) {
        const char *percent = strchr(at, '%');
        if (!percent)
            percent = at + strlen(at);
        put(line, at, (size_t)(percent - at));
        at = percent;
        if (!*at)
            break;
        struct spec spec;
        at++;
        read_spec(warp, &at, &cursor, &spec);
        put_conversion(warp, line, &spec, *at, &cursor);
        if (*at)
            at++;
    }
}

void soft_help_print(struct soft_warp *warp, uint32_t mask, const uint64_t *format,
                     const uint64_t *arguments, uint32_t *result)
{
    for (uint32_t lane = 0; lane < SOFT_LANES; lane++) {
        if (!(mask >> lane & 1))
            continue;
        struct line line;
        line.used = 0;
        print_lane(warp, &line, format[lane], arguments[lane]);
        emit(warp, 1, &line);
        result[lane] = (uint32_t)line.used;
    }
}

_Noreturn void soft_help_assert(struct soft_warp *warp, uint32_t mask, const uint64_t *message,
                                const uint64_t *file, const uint32_t *line,
                                const uint64_t *function)
{
    const uint32_t *block = warp->ntid;
    for (uint32_t lane = 0; lane < SOFT_LANES; lane++) {
        if (!(mask >> lane & 1))
            continue;
        char texts[3][512];
        fetch_string(warp, file[lane], texts[0], sizeof texts[0]);
        fetch_string(warp, function[lane], texts[1], sizeof texts[1]);
        fetch_string(warp, message[lane], texts[2], sizeof texts[2]);
        uint32_t thread = warp->index * SOFT_LANES + lane;
        struct line out;
        int n = snprintf(
            out.text, sizeof out.text,
            "%s:%u: %s: block: [%u,%u,%u], thread: [%u,%u,%u] Assertion `%s` failed.\n", texts[0],
            line[lane], texts[1], warp->ctaid[0], warp->ctaid[1], warp->ctaid[2], thread % block[0],
            thread / block[0] % block[1], thread / block[0] / block[1], texts[2]);
        out.used = n < 0 ? 0 : (size_t)n;
        emit(warp, 2, &out);
    }
    soft_raise(warp->worker, CUDA_ERROR_ASSERT, 0);
}
