#include "wire/gate.h"

#include <dirent.h>
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <link.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <time.h>
#include <unistd.h>

#include "tally/locks.h"

#ifndef SO_PEERPIDFD
#define SO_PEERPIDFD 77
#endif
#define PIDFS_MAGIC_NUMBER 0x50494446
/* Owners are remembered of descriptors below this; a process's connections beyond are not
 * counted. */
#define COUNTED_MAX 65536
#define BREATH_NS 1000000 /* before libzmq looks again at a connection that cannot be taken */

static struct tally_mutex gate_lock = TALLY_MUTEX_INIT;
static struct {
    uint32_t reserve GUARDED_BY(gate_lock), per_process_max GUARDED_BY(gate_lock);
    /* Given up for a moment, to take and end what there is no descriptor for. */
    _Atomic int spare;
    /* The highest descriptor that was given to a connection. */
    int highest GUARDED_BY(gate_lock);
    /* Of connections, by descriptor; may be of one that has ended. */
    uint64_t owners[COUNTED_MAX] GUARDED_BY(gate_lock);
    struct {
        struct tally_gate_peer peer;
        bool only, taken;
    } listeners[COUNTED_MAX] GUARDED_BY(gate_lock);
    _Atomic int event_fd;
    _Atomic uint64_t refused;
    bool installed GUARDED_BY(gate_lock);
} gate = {.spare = -1, .event_fd = -1};

/* ---- peers ---------------------------------------------------------------------------------- */

/* A number that no other process has while this one lives: the inode of its pidfd. 0 where the
 * kernel has no pidfs. */
static uint64_t process_number(int socket)
{
    int pidfd = -1;
    socklen_t bytes = sizeof pidfd;
    if (getsockopt(socket, SOL_SOCKET, SO_PEERPIDFD, &pidfd, &bytes) != 0 || pidfd < 0)
        return 0;
    struct statfs system;
    struct stat status;
    uint64_t number = 0;
    bool known = fstatfs(pidfd, &system) == 0 && system.f_type == PIDFS_MAGIC_NUMBER;
    if (known && fstat(pidfd, &status) == 0)
        number = status.st_ino;
    close(pidfd);
    return number;
}

int tally_gate_peer(int fd, struct tally_gate_peer *peer)
{
    struct ucred credentials;
    socklen_t bytes = sizeof credentials;
    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &credentials, &bytes) != 0)
        return -1;
    if (credentials.uid == (uid_t)-1) /* it listens */
        return -1;
    *peer = (struct tally_gate_peer){
        .uid = credentials.uid,
        .gid = credentials.gid,
        .pid = (uint32_t)credentials.pid,
        .process = process_number(fd),
    };
    return 0;
}

bool tally_gate_same(const struct tally_gate_peer *one, const struct tally_gate_peer *other)
{
    /* A pid may belong to another process by now, and pid 0 stands for every process of a
     * foreign namespace. The uid does not count: a process may change it. */
    if (one->process && other->process)
        return one->process == other->process;
    return one->pid && one->pid == other->pid;
}

/* What connections of a process are counted by; 0: it cannot be told from others. */
static uint64_t owner_of(int fd)
{
    struct tally_gate_peer peer;
    if (tally_gate_peer(fd, &peer) != 0)
        return 0;
    return peer.process ? peer.process : peer.pid;
}

/* ---- what comes in -------------------------------------------------------------------------- */

static uint32_t soft_limit(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur > INT32_MAX)
        return INT32_MAX;
    return (uint32_t)limit.rlim_cur;
}

/* What is counted may have ended meanwhile, so that is asked before anybody is refused. */
static bool too_many_of_locked(uint64_t owner) REQUIRES(gate_lock)
{
    if (!owner || !gate.per_process_max)
        return false;
    uint32_t count = 0;
    for (int fd = 0; fd <= gate.highest; fd++)
        count += gate.owners[fd] == owner;
    if (count < gate.per_process_max)
        return false;
    count = 0;
    for (int fd = 0; fd <= gate.highest; fd++) {
        if (gate.owners[fd] != owner)
            continue;
        if (owner_of(fd) == owner)
            count++;
        else
            gate.owners[fd] = 0;
    }
    return count >= gate.per_process_max;
}

static bool admits_locked(int listener, int fd) REQUIRES(gate_lock)
{
    /* The kernel gives the lowest free number: all below it are in use. */
    if ((uint32_t)fd + gate.reserve >= soft_limit())
        return false;
    if (listener < COUNTED_MAX && gate.listeners[listener].only) {
        struct tally_gate_peer peer;
        if (gate.listeners[listener].taken || tally_gate_peer(fd, &peer) != 0 ||
            !tally_gate_same(&peer, &gate.listeners[listener].peer))
            return false;
        gate.listeners[listener].taken = true;
        return true;
    }
    if (fd >= COUNTED_MAX)
        return true;
    uint64_t owner = owner_of(fd);
    gate.owners[fd] = 0;
    if (too_many_of_locked(owner))
        return false;
    gate.owners[fd] = owner;
    gate.highest = fd > gate.highest ? fd : gate.highest;
    return true;
}

static void note_refusal(void)
{
    if (atomic_fetch_add(&gate.refused, 1) == 0)
        eventfd_write(gate.event_fd, 1);
}

/* Ends the connection that no descriptor is left for. libzmq would be called for it again and
 * again, without an end. */
static void turn_away_locked(int listener) REQUIRES(gate_lock)
{
    if (gate.spare >= 0)
        close(gate.spare);
    int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    if (fd >= 0)
        close(fd);
    gate.spare = open("/dev/null", O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        nanosleep(&(struct timespec){.tv_nsec = BREATH_NS}, NULL);
    note_refusal();
}

/* What libzmq calls for accept4. It fails only in ways that libzmq expects. */
static int gate_accept4(int listener, struct sockaddr *address, socklen_t *bytes, int flags)
{
    int fd = accept4(listener, address, bytes, flags);
    if (fd < 0 && (errno == EAGAIN || errno == EINTR || errno == ECONNABORTED))
        return -1;
    tally_mutex_take(&gate_lock);
    bool admitted = fd >= 0 && admits_locked(listener, fd);
    if (fd < 0)
        turn_away_locked(listener);
    tally_mutex_give(&gate_lock);
    if (admitted)
        return fd;
    if (fd >= 0) {
        close(fd);
        note_refusal();
    }
    errno = EAGAIN;
    return -1;
}

static int gate_accept(int listener, struct sockaddr *address, socklen_t *bytes)
{
    return gate_accept4(listener, address, bytes, 0);
}

void tally_gate_reserve(int listener, const struct tally_gate_peer *peer)
{
    if (listener < 0 || listener >= COUNTED_MAX)
        return;
    tally_mutex_take(&gate_lock);
    gate.listeners[listener].peer = *peer;
    gate.listeners[listener].only = true;
    gate.listeners[listener].taken = false;
    tally_mutex_give(&gate_lock);
}

/* ---- libzmq's references -------------------------------------------------------------------- */

static void redirect(ElfW(Addr) base, ElfW(Addr) at, void *to)
{
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
    void **place = (void **)(base + at);
    void *start = (void *)((uintptr_t)place & ~(page - 1));
    /* It was made read-only once it was filled in. */
    if (mprotect(start, page, PROT_READ | PROT_WRITE) == 0)
        __atomic_store_n(place, to, __ATOMIC_RELEASE);
}

struct tables {
    const ElfW(Sym) * symbols;
    const char *names;
    const ElfW(Rela) * references[2]; /* through the procedure table, and others */
    size_t bytes[2];
};

static struct tables read_tables(const struct dl_phdr_info *info)
{
    struct tables tables = {0};
    for (int i = 0; i < info->dlpi_phnum; i++) {
        if (info->dlpi_phdr[i].p_type != PT_DYNAMIC)
            continue;
        const ElfW(Dyn) *entry = (const void *)(info->dlpi_addr + info->dlpi_phdr[i].p_vaddr);
        for (; entry->d_tag != DT_NULL; entry++) {
            void *address = (void *)entry->d_un.d_ptr; /* the loader has made addresses of them */
            switch (entry->d_tag) {
            case DT_SYMTAB:
                tables.symbols = address;
                break;
            case DT_STRTAB:
                tables.names = address;
                break;
            case DT_JMPREL:
                tables.references[0] = address;
                break;
            case DT_PLTRELSZ:
                tables.bytes[0] = entry->d_un.d_val;
                break;
            case DT_RELA:
                tables.references[1] = address;
                break;
            case DT_RELASZ:
                tables.bytes[1] = entry->d_un.d_val;
                break;
            default:
                break;
            }
        }
    }
    return tables;
}

static bool redirect_named(const struct dl_phdr_info *info)
{
    struct tables tables = read_tables(info);
    bool any = false;
    for (int i = 0; tables.symbols && tables.names && i < 2; i++) {
        for (size_t k = 0; k < tables.bytes[i] / sizeof(ElfW(Rela)); k++) {
            const ElfW(Rela) *reference = &tables.references[i][k];
            size_t symbol = ELF64_R_SYM(reference->r_info);
            const char *name = tables.names + tables.symbols[symbol].st_name;
            bool four = strcmp(name, "accept4") == 0;
            if (!symbol || (!four && strcmp(name, "accept") != 0))
                continue;
            void *to = four ? (void *)gate_accept4 : (void *)gate_accept;
            redirect(info->dlpi_addr, reference->r_offset, to);
            any = true;
        }
    }
    return any;
}

/* libzmq is a library of its own, or part of pyzmq's. */
static int look_at(struct dl_phdr_info *info, size_t bytes, void *found)
{
    (void)bytes;
    const char *slash = info->dlpi_name ? strrchr(info->dlpi_name, '/') : NULL;
    if (slash && (strstr(slash, "libzmq") || strstr(slash, "_zmq.")) && redirect_named(info))
        *(bool *)found = true;
    return 0;
}

int tally_gate_install(uint32_t reserve, uint32_t per_process_max)
{
    tally_mutex_take(&gate_lock);
    gate.reserve = reserve;
    gate.per_process_max = per_process_max;
    if (gate.spare < 0)
        gate.spare = open("/dev/null", O_RDONLY | O_CLOEXEC);
    if (gate.event_fd < 0)
        gate.event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    bool installed = gate.installed;
    dl_iterate_phdr(look_at, &installed);
    gate.installed = installed;
    tally_mutex_give(&gate_lock);
    return installed ? 0 : -1;
}

int tally_gate_event_fd(void) { return gate.event_fd; }

uint64_t tally_gate_refused(void)
{
    eventfd_t drained;
    eventfd_read(gate.event_fd, &drained);
    return atomic_exchange(&gate.refused, 0);
}

/* ---- descriptors ---------------------------------------------------------------------------- */

uint32_t tally_descriptors_free(void)
{
    uint32_t used = 0, limit = soft_limit();
    DIR *folder = opendir("/proc/self/fd");
    if (folder) {
        while (readdir(folder))
            used++;
        closedir(folder);
        used -= used < 3 ? used : 3; /* itself, and two names that are no descriptors */
    } else {
        int lowest = dup(gate.spare); /* all below are in use */
        used = lowest < 0 ? limit : (uint32_t)lowest;
        if (lowest >= 0)
            close(lowest);
    }
    return used < limit ? limit - used : 0;
}
