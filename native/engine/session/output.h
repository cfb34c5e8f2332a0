/* What the device printed and the client has not been sent yet. */
#ifndef TALLY_ENGINE_OUTPUT_H
#define TALLY_ENGINE_OUTPUT_H

#include <stddef.h>

#define OUTPUT_BYTES_MAX (1u << 20) /* between two waits, as CUDA's default */

struct replies;
struct session;

/* From the device's worker threads, which must never wait for a client: nothing is sent here. */
void session_output(struct session *session, int fd, const char *text, size_t bytes);
/* What was printed since the last time to standard output (0) or error (1); the caller frees it. */
char *output_take(struct replies *replies, int i, size_t *bytes);

#endif
