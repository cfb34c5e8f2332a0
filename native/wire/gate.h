/* The gate decides which connections are accepted. libzmq accepts on its own thread, and aborts
 * the process when no file descriptor is left. So its accept is ours, and closes a connection
 * long before that: one beyond the reserve, one too many of a process, or one of a process that
 * this socket is not for. The client sees a connection that ends; libzmq sees none. */
#ifndef TALLY_WIRE_GATE_H
#define TALLY_WIRE_GATE_H

#include <stdbool.h>
#include <stdint.h>

/* The process at the other end of a unix socket, as the kernel names it. */
struct tally_gate_peer {
    uint32_t uid, gid;
    uint32_t pid; /* in our PID namespace; 0: in none that we see */
    uint32_t reserved;
    uint64_t process; /* names it while it lives, in any namespace; 0: the kernel cannot */
};

/* Puts the gate into this process's libzmq, which must be loaded. 0, or -1: no libzmq was found.
 * A connection is refused if it would leave fewer than `reserve` free descriptors, or if its
 * process has per_process_max connections already (0: no limit). A second call changes the
 * numbers. */
int tally_gate_install(uint32_t reserve, uint32_t per_process_max);
/* Readable once connections were refused; the number of them since the last call. */
int tally_gate_event_fd(void);
uint64_t tally_gate_refused(void);

/* The listening socket takes one connection in its life, of this process alone. */
void tally_gate_reserve(int listener, const struct tally_gate_peer *peer);
/* Who is at the other end. -1: the socket has none. */
int tally_gate_peer(int fd, struct tally_gate_peer *peer);
/* Whether the two are one process. */
bool tally_gate_same(const struct tally_gate_peer *one, const struct tally_gate_peer *other);

/* Descriptors that the process may still open. */
uint32_t tally_descriptors_free(void);

#endif
