#include "control.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "tell.h"
#include "wire/message.h"
#include "wire/zmq.h"

#define SEND_TIMEOUT_MS 2000
#define LOOK_MS 500 /* so often while there is no answer: is tallyd still there? */

bool shim_control_unplugged(const struct shim_control *control)
{
    return fcntl(control->fd, F_GETFD) < 0;
}

static void find_path(char *out, size_t bytes)
{
    const char *dir = getenv("TALLY_RUNTIME_DIR");
    const char *xdg = getenv("XDG_RUNTIME_DIR");
    if (dir && *dir)
        snprintf(out, bytes, "%s/control.sock", dir);
    else if (xdg && *xdg)
        snprintf(out, bytes, "%s/tally/control.sock", xdg);
    else if (getuid() == 0)
        snprintf(out, bytes, "/run/tally/control.sock");
    else
        snprintf(out, bytes, "/tmp/tally-%u/control.sock", (unsigned)getuid());
}

/* libzmq tries to connect for ever, in the background. Without this look, every program that
 * only asks whether there is a GPU would wait for the whole time-out where no daemon runs. */
static bool somebody_listens(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof address.sun_path)
        return false;
    strcpy(address.sun_path, path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bool listens = fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof address) == 0 ||
                   (errno != ENOENT && errno != ECONNREFUSED);
    if (fd >= 0)
        close(fd);
    return listens;
}

/* Another tallyd may have taken the place of the one that was asked; it will not answer for the
 * first. */
static bool is_still_there(const struct shim_control *control)
{
    struct stat file;
    return stat(control->path, &file) == 0 && file.st_ino == control->file.st_ino &&
           file.st_mtim.tv_sec == control->file.st_mtim.tv_sec &&
           file.st_mtim.tv_nsec == control->file.st_mtim.tv_nsec && somebody_listens(control->path);
}

CUresult shim_control_connect(struct shim_control *control)
{
    char endpoint[sizeof control->path + 8];
    find_path(control->path, sizeof control->path);
    snprintf(endpoint, sizeof endpoint, "ipc://%s", control->path);
    if (!somebody_listens(control->path) || stat(control->path, &control->file) != 0) {
        shim_tell("no tallyd answers at %s: start `tallyd`, or run the program without Tally",
                  control->path);
        return CUDA_ERROR_SYSTEM_NOT_READY;
    }
    control->zmq = tally_zmq.ctx_new();
    if (!control->zmq)
        return CUDA_ERROR_OPERATING_SYSTEM;
    control->socket = tally_zmq.socket(control->zmq, TALLY_ZMQ_DEALER);
    if (!control->socket)
        return CUDA_ERROR_OPERATING_SYSTEM;
    tally_zmq_set(control->socket, TALLY_ZMQ_LINGER, 0);
    tally_zmq_set(control->socket, TALLY_ZMQ_SNDTIMEO, SEND_TIMEOUT_MS);
    tally_zmq_set(control->socket, TALLY_ZMQ_RCVTIMEO, LOOK_MS);
    size_t bytes = sizeof control->fd;
    bool known = tally_zmq.getsockopt(control->socket, TALLY_ZMQ_FD, &control->fd, &bytes) == 0;
    bool connected = known && tally_zmq.connect(control->socket, endpoint) == 0;
    return connected ? CUDA_SUCCESS : CUDA_ERROR_SYSTEM_NOT_READY;
}

void shim_control_disconnect(struct shim_control *control, bool all)
{
    if (control->socket)
        tally_zmq.close(control->socket);
    if (control->zmq && all)
        tally_zmq.ctx_term(control->zmq);
    control->socket = control->zmq = NULL;
}

void shim_control_forget(struct shim_control *control) { control->socket = control->zmq = NULL; }

void shim_control_folder(const struct shim_control *control, char *out, size_t bytes)
{
    snprintf(out, bytes, "%.*s", (int)(strrchr(control->path, '/') - control->path), control->path);
}

static CUresult status_result(int32_t status)
{
    switch (status) {
    case TALLY_STATUS_OK:
        return CUDA_SUCCESS;
    case TALLY_STATUS_BAD_VERSION:
        return CUDA_ERROR_SYSTEM_DRIVER_MISMATCH;
    case TALLY_STATUS_REFUSED:
        return CUDA_ERROR_NOT_PERMITTED;
    case TALLY_STATUS_UNAVAILABLE:
        return CUDA_ERROR_DEVICE_UNAVAILABLE;
    default:
        return CUDA_ERROR_OPERATING_SYSTEM;
    }
}

static time_t now_s(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec;
}

/* tallyd's sentence, which is the payload of every reply but a good one. */
static void tell_refusal(const char *text, size_t bytes) { shim_tell("%.*s", (int)bytes, text); }

CUresult shim_control_request(struct shim_control *control, uint16_t type, const void *payload,
                              size_t bytes, void *reply, size_t capacity, size_t *size,
                              time_t seconds_max)
{
    uint32_t sequence = ++control->sequence;
    time_t until_s = now_s() + seconds_max;
    if (shim_control_unplugged(control)) {
        shim_tell("this program has closed the descriptors that Tally uses");
        return CUDA_ERROR_OPERATING_SYSTEM;
    }
    if (tally_control_send(control->socket, type, sequence, payload, bytes, 0) != 0)
        return CUDA_ERROR_SYSTEM_NOT_READY;
    for (;;) {
        struct tally_control_header header;
        long got = tally_control_receive(control->socket, &header, reply, capacity);
        if (got < 0 &&
            (errno == EINTR || (errno == EAGAIN && now_s() < until_s && is_still_there(control))))
            continue;
        if (got < 0)
            return errno == EPROTO ? CUDA_ERROR_OPERATING_SYSTEM : CUDA_ERROR_SYSTEM_NOT_READY;
        if (header.sequence != sequence || header.type != type)
            continue; /* the late answer to a request that we gave up */
        if (header.status == TALLY_STATUS_OK && header.version != TALLY_PROTOCOL_VERSION)
            return CUDA_ERROR_SYSTEM_DRIVER_MISMATCH;
        if (header.status != TALLY_STATUS_OK)
            tell_refusal(reply, (size_t)got);
        *size = (size_t)got;
        return status_result(header.status);
    }
}

void shim_control_notify(struct shim_control *control, uint16_t type, const void *payload,
                         size_t bytes)
{
    if (!shim_control_unplugged(control))
        tally_control_send(control->socket, type, 0, payload, bytes, TALLY_ZMQ_DONTWAIT);
}
