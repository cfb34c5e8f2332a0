/* A session inside the engine, shared by the engine's files.
 *
 * Who owns what:
 *   session thread   the ops socket, handles, streams, legacy ordering, modules, uploads. No lock.
 *   memory.lock      device ranges, pinned areas, accounts: also released by the reaper.
 *   replies.lock     the replies socket and the async error; held while a slow client is waited for.
 *   replies.output_lock  what the device printed; never held for long.
 *   waits, reaper    a lock each (waiter.c).
 *   engine->lock     the table of sessions and the queue of events (engine.c).
 * Locks are not nested, save that output_lock may be taken inside replies.lock and wake_lock inside any. */
#ifndef TALLY_ENGINE_SESSION_H
#define TALLY_ENGINE_SESSION_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "engine/device/driver.h"
#include "engine/engine.h"
#include "engine/memory/ranges.h"
#include "engine/ops/generated/ops_gen.h"
#include "engine/session/notice.h"
#include "engine/session/table.h"
#include "engine/session/waiter.h"
#include "tally/address.h"
#include "wire/gate.h"
#include "wire/message.h"

#define SESSIONS_MAX TALLY_SESSIONS_MAX
#define UPLOADS_MAX 8u                      /* unfinished ones of a session */
#define OUTPUT_BYTES_MAX (1u << 20)         /* device printf between two waits, as CUDA's default */

struct session;

/* One received op, whole and with a header that fits it. */
struct message {
    struct tally_op op;
    const uint8_t *bytes; /* unaligned */
    size_t size;
    uint64_t arrived_ns;
};

/* ---- streams and events (stream.c, event.c) ---- */

struct stream {
    struct stream *next; /* of the session */
    CUstream driver;
    int priority; /* driver's */
    uint64_t handle;      /* 0: destroyed by the client, work may be left */
    bool blocking;        /* ordered against the legacy stream; false for that one itself */
    bool dirty;           /* blocking: has work that the legacy stream did not wait for */
    bool active;          /* was given work since it was last seen idle */
    uint64_t legacy_seen; /* blocking: legacy work up to this count is ahead of what comes now */
    uint32_t queue;       /* the scheduler's number for it, or QUEUE_NONE: see queues.h */
    struct value_wait *waits; /* waits for values in memory since it was last seen idle (stream_value.c) */
    uint32_t wait_count, wait_room;
};
#define SESSION_QUEUES_MAX 1024u /* whatever stream_queues_max says */
#define QUEUE_NONE UINT32_MAX

/* A client's event. The driver's event is replaced, not reused, while a waiter still looks at it. */
struct shared_event {
    CUevent driver;
    uint32_t flags;
    _Atomic uint32_t refs;
};

/* ---- modules (module.c) ---- */

struct module {
    CUmodule driver;
    uint8_t hash[32];
    uint32_t refs; /* the handle and its functions; session thread only */
    bool unloaded;
    bool rewritten;      /* has rewritten forms of its kernels */
    struct forms *forms; /* they are in a module of their own (rewriter.c), or will be; or NULL */
};

/* What the program asked of a kernel; its forms, which may come later, are to be like it. */
struct function_settings {
    bool cached, banked, carved; /* the program said so, of the next three */
    CUfunc_cache cache;
    CUsharedconfig banks;
    int carveout;
    bool clusters; /* its forms could not follow: it runs whole */
};

/* What the driver said of the shape that was asked for last, see residency.h. */
struct residency {
    bool asked;
    uint64_t threads; /* of a block */
    uint32_t dynamic_shared_bytes;
    uint32_t blocks; /* that a multiprocessor holds; 0: not known */
};

struct function {
    CUfunction driver;
    struct module *module;
    char *name;
    uint64_t code;  /* hash of the image and the name */
    uint64_t noted; /* the signature that was described last, see kernels.c */
    bool meets; /* kernels of other sessions (meeting.h) */
    bool forms_pending; /* it is not known yet which rewritten forms there are */
    struct function *guarded, *subgrid; /* rewritten forms, or NULL */
    struct function_settings settings;
    struct residency residency;
    uint32_t dynamic_shared_bytes; /* of a rewritten form: what it was last allowed */
    uint32_t param_count, param_bytes;
    bool params_known; /* false: the driver cannot tell, launch with one buffer */
    struct tally_param params[];
};

struct upload {
    uint64_t id; /* 0: free */
    uint64_t total;
    uint8_t *bytes; /* total + 1, zeroed */
};

/* A launch as the scheduler sees it: complete, and valid until schedule_launch returns, which copies what
 * it lets go. */
struct launch {
    struct session *session;
    const struct transfer *transfer; /* a copy or a fill instead of a kernel (transfer.h); or NULL */
    struct function *function;
    struct stream *stream;
    uint32_t grid[3], block[3];
    uint32_t dynamic_shared_bytes;
    uint32_t attribute_count;
    CUlaunchAttribute *attributes;
    const uint8_t *params;
    uint32_t param_bytes;
    uint64_t arrived_ns;
    uint64_t signature;
    uint32_t blocks;    /* 1 where the grid is one piece */
    uint32_t abilities; /* enum tally_plan_ability */
    uint32_t resident;  /* blocks that the device holds at once; 0: not known */
    uint32_t slot;      /* of its control block, where it is started guarded */
};

/* Whether a block's end can stop it, whatever the plan makes of that. */
bool launch_is_stoppable(const struct launch *launch);

/* ---- the parts of a session ---- */

struct segment {
    uint8_t *base; /* page, then slots; lies at the start of the session's pinned region */
    size_t bytes;
    struct tally_session_page *page;
    uint8_t *slots;
    int file; /* until handover_open takes it; 0: none */
    bool stream_writes; /* the driver can store done marks in stream order */
};

/* handover.c's. Descriptors; 0: none. */
struct handover {
    pthread_mutex_t lock; /* connection */
    int connection;
    int listener, segment_fd; /* until the client has connected; then the watcher's */
};

struct pinned_area {
    uint64_t base, bytes; /* whole pages */
    uint64_t number;      /* tells the client which file it is */
};

struct memory {
    pthread_mutex_t lock;
    pthread_cond_t freed; /* a deferred free is through */
    struct ranges ranges;
    struct pinned_area *pinned; /* by base */
    uint32_t pinned_count, pinned_room;
    uint64_t pinned_number;
    uint64_t used_bytes, peak_bytes, frees_pending;
    uint64_t region_base, region_bytes; /* pinned host memory of this session */
};

struct replies {
    pthread_mutex_t lock;
    void *socket;
    CUresult async_error;
    pthread_mutex_t output_lock;
    char *output[2]; /* fd 1 and 2; OUTPUT_BYTES_MAX each, allocated when first used */
    size_t output_bytes[2];
    _Atomic bool output_waiting;
};

struct request {
    pthread_mutex_t lock;
    uint64_t started_ns; /* 0: idle */
    uint64_t work;       /* ops that gave the device work so far */
};

#define GUARDED_MAX 2u /* guarded launches of a session with the device: one runs, the next is there */

#define RESCUE_SLOT GUARDED_MAX /* of the control block of a rescue */

/* Of guarded launches, see control.c. */
struct control {
    CUdeviceptr address;
    uint32_t room; /* blocks */
    uint32_t epoch;
    uint32_t started; /* as the completion thread read it; real devices only */
};

/* A guarded launch that its thread let go, and may have to start again (turns.c). */
struct open_launch {
    uint32_t index; /* in the schedule's books */
    struct launch launch;
    uint8_t *params;
    size_t params_room;
};

/* gate.c */
struct gates {
    CUdeviceptr words; /* 0: none yet; session thread */
    uint32_t numbers[SESSION_QUEUES_MAX]; /* of the newest gate; the schedule's lock */
    _Atomic uint32_t outstanding; /* launches behind gates that are not over */
};

/* The watcher's, under its lock. */
struct watch {
    void *monitors[2]; /* of ops, of replies */
    bool connected[2];
    uint64_t connect_by_ns; /* when a client that has not connected is given up */
    bool watched, stopping, stopped;
};

struct session {
    struct tally_engine *engine;
    struct driver *driver; /* engine's */
    struct tally_session_config config;
    uint32_t index;  /* in the engine's table; names the pinned region */
    uint32_t tenant; /* softgpu's, else 0 */
    bool tenant_made;

    pthread_t thread;
    void *ops;
    pthread_mutex_t wake_lock;
    void *waker; /* inproc PUSH to ops; wake_lock */
    struct watch watch;
    _Atomic bool reason_given; /* whoever sets it writes the reason, then sets ending */
    _Atomic bool ending;
    char reason[TALLY_REASON_BYTES];
    bool bye;
    _Atomic bool client_gone; /* seen by the watcher, whatever else ended the session */
    bool attached; /* engine->lock: segment and memory may be touched by other sessions' threads */

    struct notices notices;
    struct replies replies;
    struct segment segment;
    struct handover handover;
    struct memory memory;
    struct request request;
    struct waiter waits;  /* blocking calls */
    struct waiter reaper; /* what is released once prior work is done */
    struct event_pool events_free;
    _Atomic uint32_t waits_outstanding;
    _Atomic int sticky; /* CUresult */

    struct table streams, events, modules, functions;
    pthread_mutex_t streams_lock; /* stream_list, and which stream has which queue: changed by the session's
                                     thread, which reads without it */
    struct stream *stream_list;
    struct stream *legacy;    /* made when first used */
    uint64_t legacy_count;    /* ops given to it */
    uint32_t dirty_count;
    int priority;             /* driver's, of streams that carry no work of the program */
    struct upload uploads[UPLOADS_MAX];
    struct tally_session_stats stats;
    pthread_cond_t turn; /* with the schedule's lock: starts and ends of this session's launches */
    uint32_t starts_in_flight; /* the schedule's lock */
    uint32_t queue_starts[SESSION_QUEUES_MAX]; /* of those, by queue; the same lock */
    uint64_t held_ns;    /* when the launch came that its thread sees through; 0: none; the same lock */
    uint64_t end_ns;     /* of its last start; the same lock */
    bool scheduled;      /* the scheduler knows the session; its lock */
    CUresult failed;     /* what it would launch now would not run; the schedule's lock */
    struct gates gates;
    struct control control[GUARDED_MAX + 1]; /* the last: RESCUE_SLOT */
    struct stream rescue_stream;         /* session thread; made when first needed (rescue.c) */
    struct open_launch open[GUARDED_MAX]; /* a ring, by place as `control`; session thread, read under the lock */
    uint32_t open_first, open_count;
    bool in_turn;        /* its thread is in turns.c and will see what is to be done; the schedule's lock */
    _Atomic bool called; /* an empty message is on its way to the thread, see session_call */
    struct waiter completions; /* of starts, where the driver does not report them by itself */
    pthread_mutex_t lanes_lock; /* completion.c */
    struct lane {
        struct wait_item *next, *last; /* behind the one that is with the waiter */
        bool busy;
        uint64_t end_ns; /* of what was reported last */
    } lanes[SESSION_QUEUES_MAX];
    uint64_t queues_used[SESSION_QUEUES_MAX / 64];
    uint64_t rewritten_turn; /* when the rewriter last made something for it; the rewriter's lock */
    struct timing *timing; /* sampled event pairs; NULL on softgpu, which tells by itself */
};

/* ---- engine.c: what a session tells its engine ---- */

uint64_t engine_now_ns(void);
struct driver *engine_library(struct tally_engine *engine);
const struct tally_engine_config *engine_config(const struct tally_engine *engine);
void *engine_zmq(struct tally_engine *engine);
CUcontext engine_context(const struct tally_engine *engine);
uint32_t engine_multiprocessors(const struct tally_engine *engine);
/* text: what made it fail, for people. */
void engine_fault(struct session *session, CUresult error, const char *text);
void engine_notice(struct session *session, const char *text);
/* A kernel did not stop when it was told to. */
void engine_rescued(struct session *session, const char *kernel);
void engine_closed(struct session *session); /* the last thing its thread does */
void engine_attach(struct session *session);
void engine_detach(struct session *session);
void engine_release(struct session *session); /* destroys the tenant */
void engine_watch(struct session *session);   /* looks for disconnections from now on */
void engine_unwatch(struct session *session); /* and no more, once this returns */
struct image_cache *engine_images(struct tally_engine *engine);
struct schedule *engine_schedule(struct tally_engine *engine);
struct kernels *engine_kernels(struct tally_engine *engine);
struct rewriter *engine_rewriter(struct tally_engine *engine);
struct quota *engine_quota(struct tally_engine *engine);
struct trace *engine_trace(struct tally_engine *engine);
CUstream engine_urgent_stream(const struct tally_engine *engine);
void engine_stream_priorities(const struct tally_engine *engine, int *least, int *greatest);

/* ---- session.c ---- */

/* Makes everything and starts the thread; NULL and a reason. */
struct session *session_create(struct tally_engine *engine, const struct tally_session_config *config, uint32_t index,
                               struct tally_open_reply *reply, char *error, size_t error_bytes);
/* Joins the thread (the session must be ending) and frees the struct. */
void session_destroy(struct session *session);
void session_free(struct session *session);
/* Makes the session thread end, wherever it is; the first reason stays. Any thread, any lock held. */
void session_end(struct session *session, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* The one process that may connect. */
struct tally_gate_peer session_peer(const struct session *session);
/* Its thread, wherever it is, comes to schedule_go_on soon. Any thread. */
void session_call(struct session *session);
/* Takes the calling thread into the device's context and the session's tenant. */
void session_enter_thread(struct session *session);

/* ---- reply.c ---- */

/* `head` starts with a tally_reply that is filled in here. */
void session_reply(struct session *session, const struct tally_op *op, CUresult result, void *head, size_t head_bytes,
                   const void *tail, size_t tail_bytes);
/* The op is done: answers a call, remembers a one-way op's error. */
void session_finish(struct session *session, const struct tally_op *op, CUresult result);
/* Looks at any driver result: the sticky ones end all later calls. */
void session_note(struct session *session, CUresult result);
void session_output(struct session *session, int fd, const char *text, size_t bytes);
/* Sends what was printed and not yet sent. The session's thread. */
void session_flush(struct session *session);
bool replies_open(struct session *session);
void replies_close(struct session *session);

/* ---- dispatch.c ---- */

void session_dispatch(struct session *session, const void *bytes, size_t size);
/* Names what the client did wrong and ends its session. */
void session_violation(struct session *session, const struct message *message, const char *what);

/* ---- stream.c ---- */

/* The stream a handle means, or NULL. TALLY_STREAM_LEGACY makes that stream when first used. */
struct stream *stream_find(struct session *session, uint64_t handle);
/* Every op that gives a stream work starts here: puts what CUDA's legacy ordering wants ahead of it. */
CUresult stream_enter(struct session *session, struct stream *stream);
/* CUDA_SUCCESS when nothing is left to do, CUDA_ERROR_NOT_READY, or an error. */
CUresult stream_query(struct session *session, struct stream *stream);
/* An item that waits for all work of the session so far; NULL: short of memory. May have no events. */
struct wait_item *streams_mark(struct session *session);
/* Answers `op` once what is in the stream now is done: at once if it already is. */
void stream_answer_when_done(struct session *session, struct stream *stream, const struct message *message,
                             CUresult result);
void streams_close(struct session *session);
/* Whether a stream may be waiting for a value, which perhaps only a later op will write. */
bool streams_wait(struct session *session);
/* Real devices cannot drop what is queued: gives streams the values that they wait for, until none waits. */
void streams_release(struct session *session);

/* Hands a blocking call to a waiting thread, which answers it. */
void session_answer_later(struct session *session, struct wait_item *item, const struct message *message);

/* Runs item->done once prior work of all streams is done: now, if there is none. */
void session_defer(struct session *session, wait_done *done, const uint64_t arguments[3]);

void shared_event_put(struct session *session, struct shared_event *event);

/* ---- memory.c, segment.c, module.c ---- */

bool segment_open(struct session *session, char *error, size_t error_bytes);
void segment_close(struct session *session);
/* Tells the client that its session is over, and why. */
void segment_mark_closed(struct session *session);
/* Stores done[slot] once the stream got here (stream NULL: now). False: there is no such slot. */
void segment_mark(struct session *session, struct stream *stream, uint32_t slot, uint32_t sequence);
bool memory_open(struct session *session, char *error, size_t error_bytes);
void memory_close(struct session *session);
void modules_close(struct session *session);
void module_put(struct module *module);
/* A name in a message: without NUL, of bounded length. */
bool module_read_name(const struct tally_reader *tail, uint32_t name_bytes, char name[TALLY_NAME_BYTES_MAX + 1]);

/* ---- function.c ---- */

void function_free(struct function *function); /* NULL: nothing */
/* Gives the function the rewritten forms that were made in the background, once they are there. */
void function_update(struct session *session, struct function *function);
/* The message has changed how the driver runs a function: so it is with the function's forms. */
void function_follow(struct session *session, const struct message *message);

/* ---- launch.c ---- */

/* Attributes that name no address, no handle, and nothing that would let one session hurt another, pass.
 * Mere hints are dropped; those that a program would miss are refused. */
enum attribute_rule { ATTRIBUTE_PASS, ATTRIBUTE_DROP, ATTRIBUTE_REFUSE };
enum attribute_rule attribute_rule(CUlaunchAttributeID id);

/* LAUNCH_REACHED is none: that a stream has got to a launch's gate, see gate.h. */
enum launch_form { LAUNCH_WHOLE, LAUNCH_GUARDED, LAUNCH_SUBGRID, LAUNCH_REACHED };

/* Takes blocks [lo, hi) of the launch to the device, now; its end is reported with the tag, if not 0. */
CUresult launch_range(struct session *session, const struct launch *launch, enum launch_form form, uint32_t lo,
                      uint32_t hi, uint64_t tag);

/* A record of a launch of whose end nothing will be known. */
void trace_untimed(const struct launch *launch);

/* ---- control.c ---- */

/* A fresh epoch for a launch of so many blocks. Session thread; false: short of device memory. */
bool control_prepare(struct session *session, uint32_t slot, uint32_t blocks);
/* The same for a rescue: what is marked in `from` is marked in `slot` too, its epoch the same. */
bool control_copy(struct session *session, uint32_t from, uint32_t slot, uint32_t blocks);
void control_raise(struct session *session, uint32_t slot);
void control_lower(struct session *session, uint32_t slot);
uint32_t control_read(struct session *session, uint32_t slot); /* blocks that ran in this epoch */
/* Blocks that have begun so far, of a launch that is with the device. No lock held. */
CUresult control_count(struct session *session, uint32_t slot, uint32_t *begun);
/* Real devices: before the report of a guarded start. */
CUresult control_fetch(struct session *session, uint32_t slot);
void control_close(struct session *session);

/* ---- completion.c ---- */

/* Reports the end of what the stream has now, with the tag; slot: of a guarded launch's control block, or
 * the number of a gate. */
CUresult completion_add(struct session *session, const struct stream *stream, uint32_t slot, enum launch_form form,
                        uint64_t tag);

/* ---- request.c ---- */

void request_work(struct session *session, uint64_t now_ns);
uint64_t request_mark(struct session *session);
void request_done(struct session *session, uint64_t mark);

#endif
