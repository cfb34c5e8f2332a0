/* What forwarding costs: launches, synchronous calls and copies through Tally, interleaved with bare
 * libzmq messages of the same size and with memcpy, so that every ratio comes from one run.
 *
 *     tally run -- forwarding REPETITIONS        (TALLY_LIBZMQ, which tally run sets, names libzmq)
 *
 * JSON objects on standard output, one for each pair of bursts and one for each repetition; times in
 * nanoseconds. Exit status 2: a call failed.
 *
 * A launch against a bare send: cuLaunchKernel with four parameters, which becomes one message of 100 bytes,
 * and zmq_send of 100 bytes on a PUSH socket as libzmq makes it (its queue is bounded, as Tally's is), to a
 * process that takes the messages and drops them. Neither side puts several into one message. Bursts of
 * either kind take turns, each going first every other time: who goes first after the copies finds the
 * caches empty, and the heap that the first one's messages have warmed serves the second. Each burst
 * ends with a call, not measured, that returns when the other process has taken everything. */
#include "driver.h"

#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>

/* ---- libzmq ------------------------------------------------------------------------------------ */

enum { ZMQ_PULL = 7, ZMQ_PUSH = 8, ZMQ_LINGER = 17 };

static struct {
    void *(*ctx_new)(void);
    void *(*socket)(void *, int);
    int (*setsockopt)(void *, int, const void *, size_t);
    int (*bind)(void *, const char *);
    int (*connect)(void *, const char *);
    int (*send)(void *, const void *, size_t, int);
    int (*recv)(void *, void *, size_t, int);
} zmq;

/* Sizes of Tally's own messages for the calls measured here (native/include/tally/protocol.h). */
enum {
    LAUNCH_BYTES = 72 + 28, /* struct tally_op_launch and three pointers and an int */
    CALL_BYTES = 16,        /* struct tally_op */
    REPLY_BYTES = 40,       /* struct tally_reply_mem_info */
    BURST = 500,            /* launches between synchronisations: the socket's queue never fills */
    PAIRS = 10,             /* bursts of launches and of sends in a repetition */
    STREAM = 20000,         /* launches in the throughput measurement */
    CALLS = 500,
    COPY_BYTES = 64 << 20,
};

static void load_zmq(void)
{
    const char *path = getenv("TALLY_LIBZMQ");
    void *library = dlopen(path ? path : "libzmq.so.5", RTLD_NOW);
    if (!library)
        die(dlerror(), 0);
    *(void **)&zmq.ctx_new = look_up(library, "zmq_ctx_new");
    *(void **)&zmq.socket = look_up(library, "zmq_socket");
    *(void **)&zmq.setsockopt = look_up(library, "zmq_setsockopt");
    *(void **)&zmq.bind = look_up(library, "zmq_bind");
    *(void **)&zmq.connect = look_up(library, "zmq_connect");
    *(void **)&zmq.send = look_up(library, "zmq_send");
    *(void **)&zmq.recv = look_up(library, "zmq_recv");
}

/* ---- the bare peer: a process of its own, as the executor is ---------------------------------- */

static void *open_socket(void *context, int type, const char *endpoint, int bind)
{
    int none = 0;
    void *socket = zmq.socket(context, type);
    zmq.setsockopt(socket, ZMQ_LINGER, &none, sizeof none);
    CHECK(bind ? zmq.bind(socket, endpoint) : zmq.connect(socket, endpoint));
    return socket;
}

/* Takes messages of launches silently, answers those of calls. */
static void serve(const char *requests, const char *replies)
{
    char message[512], reply[REPLY_BYTES] = {0};
    void *context = zmq.ctx_new();
    void *in = open_socket(context, ZMQ_PULL, requests, 1), *out = open_socket(context, ZMQ_PUSH, replies, 1);
    for (;;)
        if (zmq.recv(in, message, sizeof message, 0) == CALL_BYTES)
            zmq.send(out, reply, sizeof reply, 0);
}

struct bare { void *requests, *replies; pid_t peer; };

static void bare_call(struct bare *bare)
{
    char message[CALL_BYTES] = {0}, reply[512];
    zmq.send(bare->requests, message, sizeof message, 0);
    zmq.recv(bare->replies, reply, sizeof reply, 0);
}

static struct bare open_bare(void)
{
    char requests[64], replies[64];
    /* Abstract sockets: nothing to clean up. */
    snprintf(requests, sizeof requests, "ipc://@tally-bench-%d-requests", (int)getpid());
    snprintf(replies, sizeof replies, "ipc://@tally-bench-%d-replies", (int)getpid());
    struct bare bare = {0};
    bare.peer = fork(); /* before either side has touched libzmq or CUDA */
    if (bare.peer == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        serve(requests, replies);
    }
    void *context = zmq.ctx_new();
    bare.requests = open_socket(context, ZMQ_PUSH, requests, 0);
    bare.replies = open_socket(context, ZMQ_PULL, replies, 0);
    bare_call(&bare);
    return bare;
}

/* ---- measurements ------------------------------------------------------------------------------ */

struct cost { double wall_ns, cpu_ns; }; /* per operation; cpu: of the calling thread alone */

static struct cost begin_cost(void)
{
    return (struct cost){now_ns(CLOCK_MONOTONIC), now_ns(CLOCK_THREAD_CPUTIME_ID)};
}

static struct cost end_cost(struct cost begin, int count)
{
    struct cost end = begin_cost();
    return (struct cost){(end.wall_ns - begin.wall_ns) / count, (end.cpu_ns - begin.cpu_ns) / count};
}

static struct cost measure_launches(void *function, int count)
{
    struct cost begin = begin_cost();
    for (int i = 0; i < count; i++)
        launch(function);
    struct cost cost = end_cost(begin, count);
    CHECK(cu.synchronize());
    return cost;
}

static struct cost measure_sends(struct bare *bare)
{
    char message[LAUNCH_BYTES] = {0};
    struct cost begin = begin_cost();
    for (int i = 0; i < BURST; i++)
        zmq.send(bare->requests, message, sizeof message, 0);
    struct cost cost = end_cost(begin, BURST);
    bare_call(bare); /* all of them have been taken */
    return cost;
}

static double measure_stream(void *function)
{
    double begin = now_ns(CLOCK_MONOTONIC);
    for (int i = 0; i < STREAM; i++)
        launch(function);
    CHECK(cu.synchronize());
    return (now_ns(CLOCK_MONOTONIC) - begin) / STREAM;
}

static struct cost measure_calls(void)
{
    size_t free_bytes, total_bytes;
    struct cost begin = begin_cost();
    for (int i = 0; i < CALLS; i++)
        CHECK(cu.mem_info(&free_bytes, &total_bytes));
    return end_cost(begin, CALLS);
}

static struct cost measure_ping_pong(struct bare *bare)
{
    struct cost begin = begin_cost();
    for (int i = 0; i < CALLS; i++)
        bare_call(bare);
    return end_cost(begin, CALLS);
}

struct copies { uint64_t device; char *source, *target; };

static double measure_copy(int how, const struct copies *copies)
{
    double begin = now_ns(CLOCK_MONOTONIC);
    if (how == 0)
        memcpy(copies->target, copies->source, COPY_BYTES);
    else if (how == 1)
        CHECK(cu.htod(copies->device, copies->source, COPY_BYTES));
    else
        CHECK(cu.dtoh(copies->target, copies->device, COPY_BYTES));
    return now_ns(CLOCK_MONOTONIC) - begin;
}

static void repeat_pair(int pair, void *function, struct bare *bare)
{
    struct cost launches, sends;
    if (pair % 2) {
        launches = measure_launches(function, BURST);
        sends = measure_sends(bare);
    } else {
        sends = measure_sends(bare);
        launches = measure_launches(function, BURST);
    }
    printf("{\"launch_wall_ns\": %.1f, \"launch_cpu_ns\": %.1f, \"send_wall_ns\": %.1f, \"send_cpu_ns\": %.1f}\n",
           launches.wall_ns, launches.cpu_ns, sends.wall_ns, sends.cpu_ns);
}

static void repeat(int repetition, void *function, struct bare *bare, const struct copies *copies)
{
    for (int pair = 0; pair < PAIRS; pair++)
        repeat_pair(repetition + pair, function, bare);
    struct cost calls = measure_calls(), ping_pong = measure_ping_pong(bare);
    double stream = repetition % 4 ? 0 : measure_stream(function);
    double copy = measure_copy(0, copies), to = measure_copy(1, copies), from = measure_copy(2, copies);
    printf("{\"call_ns\": %.1f, \"ping_pong_ns\": %.1f, \"stream_ns\": %.1f, \"memcpy_ns\": %.0f, "
           "\"htod_ns\": %.0f, \"dtoh_ns\": %.0f}\n",
           calls.wall_ns, ping_pong.wall_ns, stream, copy, to, from);
    fflush(stdout);
}

int main(int argc, char **argv)
{
    int repetitions = argc > 1 ? atoi(argv[1]) : 20;
    load_zmq();
    struct bare bare = open_bare();
    void *function = start_cuda();
    struct copies copies = {0, malloc(COPY_BYTES), malloc(COPY_BYTES)};
    memset(copies.source, 0x5a, COPY_BYTES);
    memset(copies.target, 0, COPY_BYTES);
    CHECK(cu.mem_alloc(&copies.device, COPY_BYTES));
    measure_copy(1, &copies); /* pages of the device's memory exist from here on */
    measure_launches(function, BURST);
    for (int repetition = 0; repetition < repetitions; repetition++)
        repeat(repetition, function, &bare, &copies);
    if (memcmp(copies.source, copies.target, COPY_BYTES))
        die("comparison of the copies", 0);
    kill(bare.peer, SIGKILL);
    waitpid(bare.peer, NULL, 0);
    return 0;
}
