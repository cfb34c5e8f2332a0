#include "engine/session/handover.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "engine/session/ending.h"
#include "engine/session/listener.h"
#include "engine/session/segment.h"
#include "engine/session/session.h"
#include "wire/gate.h"

static void put(int *fd)
{
    if (*fd > 0)
        close(*fd);
    *fd = 0;
}

void handover_init(struct session *session) { pthread_mutex_init(&session->handover.lock, NULL); }

bool handover_open(struct session *session, const char *path)
{
    struct handover *handover = &session->handover;
    struct tally_gate_peer peer = session_peer(session);
    handover->segment_fd = segment_take_file(session);
    int listener = listener_open(path, SOCK_SEQPACKET, &peer);
    handover->listener = listener < 0 ? 0 : listener;
    return listener >= 0;
}

int handover_listener(const struct session *session)
{
    return session->handover.listener ? session->handover.listener : -1;
}

bool handover_send(struct session *session, uint64_t number, uint64_t bytes, int fd)
{
    struct tally_handover head = {
        .magic = TALLY_HANDOVER_MAGIC,
        .version = TALLY_PROTOCOL_VERSION,
        .number = number,
        .bytes = bytes,
    };
    union {
        struct cmsghdr aligned;
        char bytes[CMSG_SPACE(sizeof(int))];
    } control = {0};
    struct iovec piece = {.iov_base = &head, .iov_len = sizeof head};
    struct msghdr message = {
        .msg_iov = &piece,
        .msg_iovlen = 1,
        .msg_control = &control,
        .msg_controllen = sizeof control,
    };
    struct cmsghdr *rights = CMSG_FIRSTHDR(&message);
    rights->cmsg_level = SOL_SOCKET;
    rights->cmsg_type = SCM_RIGHTS;
    rights->cmsg_len = CMSG_LEN(sizeof fd);
    memcpy(CMSG_DATA(rights), &fd, sizeof fd);
    pthread_mutex_lock(&session->handover.lock);
    int connection = session->handover.connection;
    /* A client that does not take what it asked for gets no more; nobody waits for it. */
    ssize_t sent = connection ? sendmsg(connection, &message, MSG_NOSIGNAL | MSG_DONTWAIT) : -1;
    pthread_mutex_unlock(&session->handover.lock);
    return sent == (ssize_t)sizeof head;
}

static bool is_the_client(struct session *session, int connection)
{
    struct tally_gate_peer expected = session_peer(session), peer;
    return tally_gate_peer(connection, &peer) == 0 && tally_gate_same(&peer, &expected);
}

void handover_accept(struct session *session)
{
    struct handover *handover = &session->handover;
    int connection = accept4(handover->listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (connection < 0 && (errno == EAGAIN || errno == EINTR || errno == ECONNABORTED))
        return;
    if (connection < 0) {
        session_end(session, "its memory cannot be handed over: %s", strerror(errno));
        put(&handover->listener);
        return;
    }
    if (!is_the_client(session, connection)) {
        close(connection);
        return;
    }
    pthread_mutex_lock(&handover->lock);
    handover->connection = connection;
    pthread_mutex_unlock(&handover->lock);
    put(&handover->listener); /* it is the only one */
    handover_send(session, 0, segment_bytes(session), handover->segment_fd);
    put(&handover->segment_fd);
}

void handover_close(struct session *session)
{
    struct handover *handover = &session->handover;
    put(&handover->listener);
    put(&handover->segment_fd);
    pthread_mutex_lock(&handover->lock);
    put(&handover->connection);
    pthread_mutex_unlock(&handover->lock);
    pthread_mutex_destroy(&handover->lock);
}
