#include "handover.h"

#include <errno.h>
#include <poll.h>
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "tally/protocol.h"

/* The executor sends the segment when it has seen the connection, and any other file before the
 * reply that names it. */
#define WAIT_MS 10000

int shim_handover_connect(struct shim_handover *handover, const char *path)
{
    tally_mutex_init(&handover->lock);
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    handover->socket = -1;
    if (strlen(path) >= sizeof address.sun_path)
        return -1;
    strcpy(address.sun_path, path);
    int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    struct stat status;
    bool connected = fd >= 0 && connect(fd, (struct sockaddr *)&address, sizeof address) == 0;
    if (connected && fstat(fd, &status) == 0) {
        handover->socket = fd;
        handover->inode = status.st_ino;
        return 0;
    }
    if (fd >= 0)
        close(fd);
    return -1;
}

static bool is_ours(const struct shim_handover *handover)
{
    struct stat status;
    return handover->socket >= 0 && fstat(handover->socket, &status) == 0 &&
           S_ISSOCK(status.st_mode) && status.st_ino == handover->inode;
}

static bool wait_readable(int socket)
{
    struct pollfd item = {.fd = socket, .events = POLLIN};
    int ready;
    do
        ready = poll(&item, 1, WAIT_MS);
    while (ready < 0 && errno == EINTR);
    return ready > 0;
}

/* The next message: its file, or -1. */
static int receive(int socket, struct tally_handover *head)
{
    union {
        struct cmsghdr aligned;
        char bytes[CMSG_SPACE(sizeof(int))];
    } control;
    struct iovec piece = {.iov_base = head, .iov_len = sizeof *head};
    struct msghdr message = {
        .msg_iov = &piece,
        .msg_iovlen = 1,
        .msg_control = &control,
        .msg_controllen = sizeof control,
    };
    if (!wait_readable(socket))
        return -1;
    ssize_t bytes = recvmsg(socket, &message, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
    struct cmsghdr *rights = bytes > 0 ? CMSG_FIRSTHDR(&message) : NULL;
    if (!rights || rights->cmsg_type != SCM_RIGHTS || rights->cmsg_len != CMSG_LEN(sizeof(int)))
        return -1;
    int fd;
    memcpy(&fd, CMSG_DATA(rights), sizeof fd);
    if (bytes == (ssize_t)sizeof *head && head->magic == TALLY_HANDOVER_MAGIC)
        return fd;
    close(fd);
    return -1;
}

/* A full table loses its oldest file: the thread that it was for has left its wait. */
static void keep_locked(struct shim_handover *handover, uint64_t number, int fd)
    REQUIRES(handover->lock)
{
    int at = 0;
    while (at < SHIM_HANDED_MAX - 1 && handover->early[at].number)
        at++;
    if (handover->early[at].number) {
        close(handover->early[0].fd);
        memmove(handover->early, handover->early + 1,
                (SHIM_HANDED_MAX - 1) * sizeof *handover->early);
    }
    handover->early[at].number = number;
    handover->early[at].fd = fd;
}

static int take_early_locked(struct shim_handover *handover, uint64_t number)
    REQUIRES(handover->lock)
{
    for (int i = 0; number && i < SHIM_HANDED_MAX; i++) {
        if (handover->early[i].number != number)
            continue;
        handover->early[i].number = 0;
        return handover->early[i].fd;
    }
    return -1;
}

int shim_handover_take(struct shim_handover *handover, uint64_t number, uint64_t bytes)
{
    tally_mutex_take(&handover->lock);
    int fd = take_early_locked(handover, number);
    while (fd < 0 && is_ours(handover)) {
        struct tally_handover head;
        int got = receive(handover->socket, &head);
        if (got < 0)
            break;
        if (head.number == number)
            fd = got;
        else
            keep_locked(handover, head.number, got);
    }
    tally_mutex_give(&handover->lock);
    struct stat status;
    if (fd >= 0 && (fstat(fd, &status) != 0 || (uint64_t)status.st_size < bytes)) {
        close(fd);
        fd = -1;
    }
    return fd;
}

void shim_handover_close(struct shim_handover *handover)
{
    if (is_ours(handover))
        close(handover->socket);
    handover->socket = -1;
}
