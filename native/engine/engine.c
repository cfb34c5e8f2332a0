/* The engine: one device, its sessions, and what they report. */
#include "engine/engine.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "engine/code/image.h"
#include "engine/code/rewriter.h"
#include "engine/device/driver.h"
#include "engine/device/driver_cuda.h"
#include "engine/device/driver_soft.h"
#include "engine/device/stores.h"
#include "engine/device/take.h"
#include "engine/launch/kernels.h"
#include "engine/launch/report.h"
#include "engine/launch/schedule.h"
#include "engine/launch/settings.h"
#include "engine/launch/timing.h"
#include "engine/launch/trace.h"
#include "engine/launch/validate.h"
#include "engine/memory/guard.h"
#include "engine/memory/quota.h"
#include "engine/parts.h"
#include "engine/session/ending.h"
#include "engine/session/news.h"
#include "engine/session/output.h"
#include "engine/session/roster.h"
#include "engine/session/session.h"
#include "engine/session/watch.h"
#include "engine/streams/queues.h"
#include "wire/gate.h"
#include "wire/zmq.h"

/* Of a session: sockets, what libzmq makes for each, memory on its way to the client. And what the
 * executor keeps for itself: to compile, to read files, to tell why a session is refused. */
#define DESCRIPTORS_PER_SESSION 24u
#define DESCRIPTORS_KEPT 128u

int tally_engine_event_fd(const struct tally_engine *engine) { return news_fd(engine->news); }

int tally_engine_next_event(struct tally_engine *engine, struct tally_engine_event *event)
{
    struct session *closed = NULL;
    int taken = news_take(engine->news, event, &closed);
    if (closed) {
        roster_remove(engine->roster, closed);
        session_destroy(closed);
    }
    return taken;
}

/* ---- the driver's callbacks, on its threads; a session outlives its tenant ------------------ */

static void on_output(void *user, uint32_t tenant, int fd, const char *text, size_t bytes)
{
    struct tally_engine *engine = user;
    struct session *session = roster_of_tenant(engine->roster, tenant);
    if (session)
        session_output(session, fd, text, bytes);
}

static void on_launch_done(void *user, const struct launch_times *times)
{
    struct tally_engine *engine = user;
    struct session *session = roster_of_tenant(engine->roster, times->tenant);
    if (times->tag == 0) {
        if (session)
            schedule_session_failed(session, (CUresult)times->error);
        return;
    }
    uint64_t arrived_ns;
    if (schedule_report(engine->schedule, times, &arrived_ns) && session)
        timing_launch_done(session, times, arrived_ns);
}

/* ---- sessions ------------------------------------------------------------------------------- */

static bool config_is_sound(const struct tally_session_config *config)
{
    return config->slot_count > 0 && config->slot_count <= TALLY_SLOTS_MAX &&
           config->slot_bytes > 0 && config->slot_bytes % 4096 == 0 &&
           config->slot_bytes <= (1u << 30);
}

static const char *refuse_open(const struct tally_engine *engine,
                               const struct tally_session_config *config, uint32_t index,
                               bool known)
{
    return atomic_load(&engine->lost) ? "the device's context is lost"
           : known                    ? "the session is open already"
           : index == SESSIONS_MAX    ? "the executor has as many sessions as it can serve"
           : !config_is_sound(config) ? "the size of the segment makes no sense"
                                      : NULL;
}

int tally_engine_open(struct tally_engine *engine, const struct tally_session_config *config,
                      struct tally_open_reply *reply, char *error, size_t error_bytes)
{
    bool known = false;
    memset(reply, 0, sizeof *reply);
    uint32_t index = roster_place(engine->roster, config->session, &known);
    const char *refusal = refuse_open(engine, config, index, known);
    if (refusal) {
        snprintf(error, error_bytes, "%s", refusal);
        return -1;
    }
    uint32_t descriptors = tally_descriptors_free();
    if (descriptors < DESCRIPTORS_PER_SESSION + DESCRIPTORS_KEPT) {
        snprintf(error, error_bytes,
                 "the executor may open only %u more file descriptors, and one more session could "
                 "take the last; "
                 "see `descriptors_max` in the config",
                 descriptors);
        return -1;
    }
    struct session *session = session_create(engine, config, index, reply, error, error_bytes);
    if (!session)
        return -1;
    roster_add(engine->roster, session);
    return 0;
}

struct closing {
    uint64_t session;
    const char *reason;
    int result;
};

static bool close_one(struct session *session, void *argument)
{
    struct closing *closing = argument;
    if (session->config.session != closing->session)
        return true;
    session_end(session, "%s", closing->reason);
    closing->result = 0;
    return false;
}

int tally_engine_close(struct tally_engine *engine, uint64_t session, const char *reason)
{
    struct closing closing = {.session = session, .reason = reason, .result = -1};
    roster_each(engine->roster, close_one, &closing);
    return closing.result;
}

struct snapshot {
    struct tally_session_stats *stats;
    uint32_t count, max;
};

static bool read_one(struct session *session, void *argument)
{
    struct snapshot *snapshot = argument;
    if (snapshot->count == snapshot->max)
        return false;
    schedule_count(session);
    tally_stats_read(&session->stats, &snapshot->stats[snapshot->count++]);
    return true;
}

uint32_t tally_engine_snapshot(struct tally_engine *engine, struct tally_session_stats *stats,
                               uint32_t max)
{
    struct snapshot snapshot = {.stats = stats, .max = max};
    roster_each(engine->roster, read_one, &snapshot);
    return snapshot.count;
}

struct listing {
    struct tally_running *running;
    uint32_t count, max;
};

static bool list_one(struct session *session, void *argument)
{
    struct listing *listing = argument;
    if (listing->count == listing->max)
        return false;
    listing->count += schedule_running(session, &listing->running[listing->count]);
    return true;
}

uint32_t tally_engine_running(struct tally_engine *engine, struct tally_running *running,
                              uint32_t max)
{
    struct listing listing = {.running = running, .max = max};
    roster_each(engine->roster, list_one, &listing);
    return listing.count;
}

static bool validate_one(struct session *session, void *argument)
{
    const char **wrong = argument;
    *wrong = schedule_validate(session);
    if (!*wrong)
        *wrong = queues_validate(session);
    return !*wrong;
}

const char *tally_engine_validate(struct tally_engine *engine)
{
    const char *wrong = NULL;
    roster_each(engine->roster, validate_one, &wrong);
    return wrong;
}

/* ---- start and end -------------------------------------------------------------------------- */

void tally_engine_device(const struct tally_engine *engine, struct tally_device_info *info,
                         int32_t *driver_version)
{
    *info = engine->info;
    *driver_version = engine->driver_version;
}

static bool start(struct tally_engine *engine, const struct tally_engine_config *config,
                  char *error, size_t error_bytes)
{
    const char *why = NULL;
    char text[64];
    if (tally_zmq_load(&why) != 0) {
        snprintf(error, error_bytes, "%s", why);
        return false;
    }
    if (!driver_load(&engine->driver, config->driver,
                     config->soft ? &driver_soft_ops : &driver_cuda_ops, error, error_bytes))
        return false;
    const struct device_callbacks callbacks = {
        .user = engine, .output = on_output, .launch_done = on_launch_done};
    engine->roster = roster_create(); /* the driver may call back from now on */
    engine->news = news_create();
    if (!engine->roster || !engine->news) {
        snprintf(error, error_bytes, "cannot start: %s", strerror(errno));
        return false;
    }
    CUresult result = device_take(engine, &callbacks);
    if (result != CUDA_SUCCESS) {
        snprintf(error, error_bytes, "device %u cannot be used: %s", config->device,
                 driver_error_text(&engine->driver, result, text, sizeof text));
        return false;
    }
    engine->pinned_quota = quota_create(&(struct quota_limits){
        .session_bytes_max = config->pinned_bytes_session_max,
        .job_bytes_max = config->pinned_bytes_job_max,
        .bytes_max = config->pinned_bytes_max,
    });
    engine->memory_quota = quota_create(&(struct quota_limits){0});
    engine->images = image_cache_create();
    engine->rewriter = rewriter_create(engine);
    engine->schedule = schedule_create(engine);
    engine->kernels = kernels_create();
    engine->zmq = tally_zmq.ctx_new();
    if (engine->zmq)
        engine->watcher = watcher_create();
    if (engine->pinned_quota && engine->memory_quota && engine->images && engine->rewriter &&
        engine->schedule && engine->kernels && engine->watcher && guard_install())
        return true;
    snprintf(error, error_bytes, "cannot start: %s", strerror(errno));
    return false;
}

struct tally_engine *tally_engine_create(const struct tally_engine_config *config, char *error,
                                         size_t error_bytes)
{
    struct tally_engine *engine = calloc(1, sizeof *engine);
    if (!engine)
        return NULL;
    trace_open(&engine->trace);
    engine->config = *config;
    engine->config.driver = strdup(config->driver);
    engine->config.runtime_dir = strdup(config->runtime_dir);
    if (config->soft && config->soft_dry)
        engine->config.rewrite =
            NULL; /* a guarded kernel that is skipped would never have run its blocks */
    if (start(engine, config, error, error_bytes))
        return engine;
    tally_engine_destroy(engine);
    return NULL;
}

static bool end_one(struct session *session, void *argument)
{
    (void)argument;
    session_end(session, "the executor shuts down");
    return true;
}

static void end_sessions(struct tally_engine *engine)
{
    struct tally_engine_event event;
    while (roster_each(engine->roster, end_one, NULL) > 0) {
        struct tally_zmq_poll item = {.fd = news_fd(engine->news), .events = TALLY_ZMQ_POLLIN};
        tally_zmq.poll(&item, 1, 1000);
        while (tally_engine_next_event(engine, &event))
            ;
    }
    while (tally_engine_next_event(engine, &event))
        ;
}

void tally_engine_destroy(struct tally_engine *engine)
{
    if (engine->roster && engine->news)
        end_sessions(engine);
    if (engine->watcher)
        watcher_destroy(engine->watcher);
    if (engine->zmq)
        tally_zmq.ctx_term(engine->zmq);
    if (engine->rewriter)
        rewriter_destroy(engine->rewriter);
    if (engine->images)
        image_cache_destroy(engine->images);
    device_give(engine);
    if (engine->schedule)
        schedule_destroy(engine->schedule);
    stores_close(engine->driver.stores); /* the schedule's timer let go of its lock until now */
    if (engine->kernels)
        kernels_destroy(engine->kernels);
    quota_destroy(engine->pinned_quota);
    quota_destroy(engine->memory_quota);
    trace_close(&engine->trace);
    news_destroy(engine->news);
    roster_destroy(engine->roster);
    free((char *)engine->config.driver);
    free((char *)engine->config.runtime_dir);
    free(engine);
}

void *tally_engine_buffer(size_t bytes) { return calloc(1, bytes ? bytes : 1); }

int tally_engine_set_policy(struct tally_engine *engine, uint32_t policy)
{
    return schedule_set_policy(engine->schedule, policy);
}

uint32_t tally_engine_policy(struct tally_engine *engine)
{
    return schedule_policy(engine->schedule);
}

int tally_engine_set_limits(struct tally_engine *engine, const struct tally_sched_limits *limits)
{
    return schedule_set_limits(engine->schedule, limits);
}

void tally_engine_schedule(struct tally_engine *engine, struct tally_sched_stats *stats)
{
    schedule_read(engine->schedule, stats);
}

uint32_t tally_engine_export_plans(struct tally_engine *engine, struct tally_plan_record *records,
                                   uint32_t max)
{
    return schedule_export_plans(engine->schedule, records, max);
}

uint64_t tally_engine_plans_evicted(struct tally_engine *engine)
{
    return schedule_plans_evicted(engine->schedule);
}

uint32_t tally_engine_import_plans(struct tally_engine *engine,
                                   const struct tally_plan_record *records, uint32_t count)
{
    return schedule_import_plans(engine->schedule, records, count);
}

int tally_engine_kernel(struct tally_engine *engine, uint64_t signature,
                        struct tally_kernel *kernel)
{
    return kernels_find(engine->kernels, signature, kernel);
}

int tally_engine_trace_start(struct tally_engine *engine, uint32_t records_max)
{
    return trace_start(&engine->trace, records_max);
}

void tally_engine_trace_stop(struct tally_engine *engine) { trace_stop(&engine->trace); }

uint32_t tally_engine_trace_read(struct tally_engine *engine, struct tally_trace_record *records,
                                 uint32_t max, uint64_t *lost)
{
    return trace_read(&engine->trace, records, max, lost);
}

uint32_t tally_engine_times_reported(const struct tally_engine *engine)
{
    return timing_driver_reports(engine);
}

int tally_engine_die_with_parent(int parent, int signal)
{
    return prctl(PR_SET_PDEATHSIG, signal) == 0 && getppid() == parent ? 0 : -1;
}
