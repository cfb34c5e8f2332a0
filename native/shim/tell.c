#include "tell.h"

#include <errno.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define LINE_BYTES_MAX 1024
#define LINES_MAX 32 /* different ones in a process; what comes later is not told */
#define PREFIX "tally: "

static _Atomic uint64_t
    told[LINES_MAX]; /* hashes of lines; 0: free. Inherited by forked children */
static struct stat first_stderr;
static int had_stderr;

__attribute__((constructor)) static void look_at_stderr(void)
{
    had_stderr = fstat(STDERR_FILENO, &first_stderr) == 0;
}

static int is_first_stderr(void)
{
    struct stat now;
    return had_stderr && fstat(STDERR_FILENO, &now) == 0 && now.st_dev == first_stderr.st_dev &&
           now.st_ino == first_stderr.st_ino;
}

static uint64_t hash_of(const char *line)
{
    uint64_t hash = 0xcbf29ce484222325ull; /* FNV-1a */
    for (; *line; line++)
        hash = (hash ^ (uint8_t)*line) * 0x100000001b3ull;
    return hash ? hash : 1;
}

/* Whether the line is new; it is not afterwards. Two threads with one line: one of them gets true.
 */
static int take_turn(const char *line)
{
    uint64_t hash = hash_of(line);
    for (int i = 0; i < LINES_MAX; i++) {
        uint64_t there = 0;
        if (atomic_compare_exchange_strong(&told[i], &there, hash))
            return 1;
        if (there == hash)
            return 0;
    }
    return 0;
}

/* One line, whatever the text's source put into it: it came over a socket. */
static void make_plain(char *text)
{
    size_t length = strlen(text);
    while (length && (text[length - 1] == '\n' || text[length - 1] == ' '))
        text[--length] = 0;
    for (; *text; text++)
        if ((unsigned char)*text < ' ' || *text == 0x7f)
            *text = '?';
}

void shim_tell(const char *format, ...)
{
    int error = errno;
    char line[LINE_BYTES_MAX] = PREFIX;
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(line + strlen(PREFIX), sizeof line - strlen(PREFIX) - 1, format, arguments);
    va_end(arguments);
    make_plain(line);
    const char *quiet = getenv("TALLY_QUIET");
    if ((!quiet || !*quiet) && is_first_stderr() && take_turn(line)) {
        size_t length = strlen(line);
        line[length++] = '\n';
        ssize_t wrote =
            write(STDERR_FILENO, line, length); /* one call: lines of processes do not mix */
        (void)wrote;
    }
    errno = error;
}
