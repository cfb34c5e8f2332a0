/* libzmq, loaded at run time. The library comes with pyzmq (TALLY_LIBZMQ names the file), so
 * neither the build nor the host needs a system package; therefore the few declarations that we use
 * are our own. ABI: libzmq 4.x, stable since 4.0. */
#ifndef TALLY_WIRE_ZMQ_H
#define TALLY_WIRE_ZMQ_H

#include <stddef.h>
#include <stdint.h>

/* zmq_msg_t: 64 opaque bytes, pointer-aligned. */
struct tally_zmq_message {
    _Alignas(void *) unsigned char opaque[64];
};

struct tally_zmq_poll {
    void *socket;
    int fd;
    short events;
    short revents;
};

enum tally_zmq_socket {
    TALLY_ZMQ_PAIR = 0,
    TALLY_ZMQ_DEALER = 5,
    TALLY_ZMQ_ROUTER = 6,
    TALLY_ZMQ_PULL = 7,
    TALLY_ZMQ_PUSH = 8,
};

enum tally_zmq_option {
    TALLY_ZMQ_FD = 14,
    TALLY_ZMQ_EVENTS = 15,
    TALLY_ZMQ_LINGER = 17,
    TALLY_ZMQ_RECONNECT_IVL = 18,
    TALLY_ZMQ_BACKLOG = 19,
    TALLY_ZMQ_MAXMSGSIZE = 22,
    TALLY_ZMQ_SNDHWM = 23,
    TALLY_ZMQ_RCVHWM = 24,
    TALLY_ZMQ_RCVTIMEO = 27,
    TALLY_ZMQ_SNDTIMEO = 28,
    TALLY_ZMQ_IMMEDIATE = 39,
    TALLY_ZMQ_USE_FD = 89, /* a listening socket that bind() takes instead of making one */
};

enum tally_zmq_flag { TALLY_ZMQ_DONTWAIT = 1, TALLY_ZMQ_SNDMORE = 2 };
enum tally_zmq_poll_event { TALLY_ZMQ_POLLIN = 1, TALLY_ZMQ_POLLOUT = 2 };
enum tally_zmq_context_option { TALLY_ZMQ_IO_THREADS = 1, TALLY_ZMQ_MAX_SOCKETS = 2 };

/* Monitor events (zmq_socket_monitor): first frame u16 event, u32 value; second frame the address.
 */
enum tally_zmq_event {
    TALLY_ZMQ_EVENT_CONNECTED = 0x0001,
    TALLY_ZMQ_EVENT_ACCEPTED = 0x0020,
    TALLY_ZMQ_EVENT_DISCONNECTED = 0x0200,
};

struct tally_zmq {
    void *(*ctx_new)(void);
    int (*ctx_set)(void *context, int option, int value);
    int (*ctx_shutdown)(void *context);
    int (*ctx_term)(void *context);
    void *(*socket)(void *context, int type);
    int (*close)(void *socket);
    int (*setsockopt)(void *socket, int option, const void *value, size_t bytes);
    int (*getsockopt)(void *socket, int option, void *value, size_t *bytes);
    int (*bind)(void *socket, const char *endpoint);
    int (*unbind)(void *socket, const char *endpoint);
    int (*connect)(void *socket, const char *endpoint);
    int (*disconnect)(void *socket, const char *endpoint);
    int (*send)(void *socket, const void *data, size_t bytes, int flags);
    int (*recv)(void *socket, void *data, size_t bytes,
                int flags); /* the frame's size, even if truncated */
    int (*msg_init)(struct tally_zmq_message *message);
    int (*msg_init_size)(struct tally_zmq_message *message, size_t bytes);
    int (*msg_send)(struct tally_zmq_message *message, void *socket, int flags);
    int (*msg_recv)(struct tally_zmq_message *message, void *socket, int flags);
    int (*msg_close)(struct tally_zmq_message *message);
    void *(*msg_data)(struct tally_zmq_message *message);
    size_t (*msg_size)(const struct tally_zmq_message *message);
    int (*msg_more)(const struct tally_zmq_message *message);
    int (*poll)(struct tally_zmq_poll *items, int count, long timeout_ms);
    int (*socket_monitor)(void *socket, const char *endpoint, int events);
    int (*error)(void); /* zmq_errno */
    const char *(*strerror)(int error);
};

/* The table; valid after tally_zmq_load returned 0. */
extern struct tally_zmq tally_zmq;

/* Loads the library once, whichever thread comes first. 0, or -1 where it cannot be had; `reason`
 * (may be NULL) then points to a text that stays valid. */
int tally_zmq_load(const char **reason);

/* Sets an int-valued option. 0 or -1. */
int tally_zmq_set(void *socket, int option, int value);

#endif
