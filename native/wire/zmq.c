#include "wire/zmq.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

struct tally_zmq tally_zmq;

static pthread_once_t load_once = PTHREAD_ONCE_INIT;
static char load_reason[512]; /* empty: loaded */

struct entry {
    const char *symbol;
    size_t offset;
};

#define ENTRY(name, symbol) {symbol, offsetof(struct tally_zmq, name)}

static const struct entry entries[] = {
    ENTRY(ctx_new, "zmq_ctx_new"),
    ENTRY(ctx_set, "zmq_ctx_set"),
    ENTRY(ctx_shutdown, "zmq_ctx_shutdown"),
    ENTRY(ctx_term, "zmq_ctx_term"),
    ENTRY(socket, "zmq_socket"),
    ENTRY(close, "zmq_close"),
    ENTRY(setsockopt, "zmq_setsockopt"),
    ENTRY(getsockopt, "zmq_getsockopt"),
    ENTRY(bind, "zmq_bind"),
    ENTRY(unbind, "zmq_unbind"),
    ENTRY(connect, "zmq_connect"),
    ENTRY(disconnect, "zmq_disconnect"),
    ENTRY(send, "zmq_send"),
    ENTRY(recv, "zmq_recv"),
    ENTRY(msg_init, "zmq_msg_init"),
    ENTRY(msg_init_size, "zmq_msg_init_size"),
    ENTRY(msg_send, "zmq_msg_send"),
    ENTRY(msg_recv, "zmq_msg_recv"),
    ENTRY(msg_close, "zmq_msg_close"),
    ENTRY(msg_data, "zmq_msg_data"),
    ENTRY(msg_size, "zmq_msg_size"),
    ENTRY(msg_more, "zmq_msg_more"),
    ENTRY(poll, "zmq_poll"),
    ENTRY(socket_monitor, "zmq_socket_monitor"),
    ENTRY(error, "zmq_errno"),
    ENTRY(strerror, "zmq_strerror"),
};

/* RTLD_LOCAL: a program that brings its own libzmq must not meet ours. */
static void load(void)
{
    const char *path = getenv("TALLY_LIBZMQ");
    if (!path || !*path)
        path = "libzmq.so.5";
    void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!library) {
        const char *why = dlerror();
        snprintf(load_reason, sizeof load_reason, "cannot load libzmq: %s", why ? why : path);
        return;
    }
    for (size_t i = 0; i < sizeof entries / sizeof *entries; i++) {
        void *address = dlsym(library, entries[i].symbol);
        if (!address) {
            snprintf(load_reason, sizeof load_reason, "%s has no %s", path, entries[i].symbol);
            dlclose(library);
            return;
        }
        *(void **)((char *)&tally_zmq + entries[i].offset) = address;
    }
}

int tally_zmq_load(const char **reason)
{
    pthread_once(&load_once, load);
    if (reason)
        *reason = load_reason;
    return load_reason[0] ? -1 : 0;
}

int tally_zmq_set(void *socket, int option, int value)
{
    return tally_zmq.setsockopt(socket, option, &value, sizeof value);
}
