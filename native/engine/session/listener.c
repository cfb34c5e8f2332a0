#include "engine/session/listener.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "engine/session/session.h"
#include "wire/gate.h"

#define BACKLOG 16

/* Nobody can connect before listen(), so there is no moment at which the socket is another
 * user's too. */
static int prepare(int fd, const char *path, const struct tally_gate_peer *peer)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof address.sun_path) {
        errno = ENAMETOOLONG;
        return -1;
    }
    strcpy(address.sun_path, path);
    unlink(path);
    if (bind(fd, (struct sockaddr *)&address, sizeof address) != 0 || chmod(path, 0600) != 0)
        return -1;
    if (peer->uid != geteuid() && chown(path, peer->uid, peer->gid) != 0)
        return -1;
    return listen(fd, BACKLOG);
}

int listener_open(const char *path, int type, const struct tally_gate_peer *peer)
{
    int fd = socket(AF_UNIX, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0 || prepare(fd, path, peer) == 0)
        return fd;
    int error = errno;
    close(fd);
    errno = error;
    return -1;
}

struct tally_gate_peer session_peer(const struct session *session)
{
    const struct tally_session_config *config = &session->config;
    return (struct tally_gate_peer){
        .uid = config->uid, .gid = config->gid, .pid = config->pid, .process = config->process};
}
