/* The engine: one device, its sessions, and what they report. */
#include "engine/engine.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

#include "engine/code/image.h"
#include "engine/code/rewriter.h"
#include "engine/launch/kernels.h"
#include "engine/launch/schedule.h"
#include "engine/launch/timing.h"
#include "engine/launch/trace.h"
#include "engine/memory/guard.h"
#include "engine/memory/quota.h"
#include "engine/session/watch.h"
#include "engine/streams/queues.h"

/* Of a session: sockets, what libzmq makes for each, memory on its way to the client. And what the executor
 * keeps for itself: to compile, to read files, to tell why a session is refused. */
#define DESCRIPTORS_PER_SESSION 24u
#define DESCRIPTORS_KEPT 128u

struct queued_event {
    struct queued_event *next;
    struct session *closed; /* to be freed when the event is taken */
    struct tally_engine_event event;
};

struct tally_engine {
    struct tally_engine_config config; /* strings are the engine's own */
    struct driver driver;
    CUdevice device;
    CUcontext context;
    void *zmq;
    struct image_cache *images;
    struct schedule *schedule;
    struct kernels *kernels;
    struct rewriter *rewriter;
    struct trace trace;
    struct quota *quota;
    CUstream urgent; /* real devices: where flags of guarded launches are raised */
    struct watcher *watcher;
    struct tally_device_info info;
    int32_t driver_version;

    pthread_mutex_t lock; /* sessions, events */
    struct session *sessions[SESSIONS_MAX];
    struct queued_event *first, *last;
    int event_fd;
    bool lost;
    _Atomic(struct session *) tenants[TALLY_TENANTS_MAX]; /* softgpu's callbacks look here */
};

uint64_t engine_now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000ull + (uint64_t)now.tv_nsec;
}

struct driver *engine_library(struct tally_engine *engine) { return &engine->driver; }
const struct tally_engine_config *engine_config(const struct tally_engine *engine) { return &engine->config; }
void *engine_zmq(struct tally_engine *engine) { return engine->zmq; }
uint32_t engine_multiprocessors(const struct tally_engine *engine)
{
    int32_t count = engine->info.attributes[CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT];
    return count > 0 ? (uint32_t)count : 0;
}

CUcontext engine_context(const struct tally_engine *engine) { return engine->context; }
struct image_cache *engine_images(struct tally_engine *engine) { return engine->images; }
struct schedule *engine_schedule(struct tally_engine *engine) { return engine->schedule; }
struct kernels *engine_kernels(struct tally_engine *engine) { return engine->kernels; }
struct rewriter *engine_rewriter(struct tally_engine *engine) { return engine->rewriter; }
struct trace *engine_trace(struct tally_engine *engine) { return &engine->trace; }
struct quota *engine_quota(struct tally_engine *engine) { return engine->quota; }
CUstream engine_urgent_stream(const struct tally_engine *engine) { return engine->urgent; }
int tally_engine_event_fd(const struct tally_engine *engine) { return engine->event_fd; }

void engine_stream_priorities(const struct tally_engine *engine, int *least, int *greatest)
{
    *least = engine->info.stream_priority_least;
    *greatest = engine->info.stream_priority_greatest;
}

/* ---- events ---- */

/* Under the lock. */
static void append(struct tally_engine *engine, struct queued_event *queued)
{
    if (engine->last)
        engine->last->next = queued;
    else
        engine->first = queued;
    engine->last = queued;
    eventfd_write(engine->event_fd, 1);
}

/* Under the lock. Short of memory, the event is lost; the session is found closed all the same. */
static void post(struct tally_engine *engine, struct session *session, uint32_t type, CUresult error,
                 struct session *closed, const char *text)
{
    struct queued_event *queued = calloc(1, sizeof *queued);
    if (!queued)
        return;
    queued->closed = closed;
    queued->event.type = type;
    queued->event.error = (int32_t)error;
    queued->event.session = session->config.session;
    snprintf(queued->event.reason, sizeof queued->event.reason, "%s", text);
    tally_stats_read(&session->stats, &queued->event.stats);
    append(engine, queued);
}

int tally_engine_next_event(struct tally_engine *engine, struct tally_engine_event *event)
{
    pthread_mutex_lock(&engine->lock);
    struct queued_event *queued = engine->first;
    if (queued) {
        engine->first = queued->next;
        if (!engine->first)
            engine->last = NULL;
        if (queued->closed)
            engine->sessions[queued->closed->index] = NULL;
    } else {
        eventfd_t drained;
        eventfd_read(engine->event_fd, &drained);
    }
    pthread_mutex_unlock(&engine->lock);
    if (!queued)
        return 0;
    *event = queued->event;
    if (queued->closed)
        session_destroy(queued->closed);
    free(queued);
    return 1;
}

void engine_closed(struct session *session)
{
    struct tally_engine *engine = session->engine;
    pthread_mutex_lock(&engine->lock);
    post(engine, session, TALLY_ENGINE_CLOSED, CUDA_SUCCESS, session, session->reason);
    pthread_mutex_unlock(&engine->lock);
}

void engine_rescued(struct session *session, const char *kernel)
{
    struct tally_engine *engine = session->engine;
    pthread_mutex_lock(&engine->lock);
    post(engine, session, TALLY_ENGINE_RESCUED, CUDA_SUCCESS, NULL, kernel);
    pthread_mutex_unlock(&engine->lock);
}

void engine_notice(struct session *session, const char *text)
{
    struct tally_engine *engine = session->engine;
    pthread_mutex_lock(&engine->lock);
    post(engine, session, TALLY_ENGINE_NOTICE, CUDA_SUCCESS, NULL, text);
    pthread_mutex_unlock(&engine->lock);
}

/* A real device's context is gone for everybody: all sessions are told, the process must be replaced. */
static void spread(struct tally_engine *engine, struct session *culprit, CUresult error, const char *text)
{
    for (uint32_t i = 0; i < SESSIONS_MAX; i++) {
        struct session *session = engine->sessions[i];
        int well = CUDA_SUCCESS;
        if (!session || session == culprit || !session->attached ||
            !atomic_compare_exchange_strong(&session->sticky, &well, (int)error))
            continue;
        shared_store(session, &session->segment.page->sticky_error, (uint32_t)error);
    }
    if (!engine->lost)
        post(engine, culprit, TALLY_ENGINE_LOST, error, NULL, text);
    engine->lost = true;
}

void engine_fault(struct session *session, CUresult error, const char *text)
{
    struct tally_engine *engine = session->engine;
    pthread_mutex_lock(&engine->lock);
    post(engine, session, TALLY_ENGINE_FAULT, error, NULL, text);
    if (!engine->driver.is_soft)
        spread(engine, session, error, text);
    pthread_mutex_unlock(&engine->lock);
}

/* ---- softgpu's callbacks, on its worker threads; a session outlives its tenant ---- */

static void on_output(void *user, uint32_t tenant, int fd, const char *text, size_t bytes)
{
    struct tally_engine *engine = user;
    struct session *session = tenant < TALLY_TENANTS_MAX ? atomic_load(&engine->tenants[tenant]) : NULL;
    if (session)
        session_output(session, fd, text, bytes);
}

static void on_launch_done(void *user, const struct softgpu_launch_times *times)
{
    struct tally_engine *engine = user;
    struct session *session = times->tenant < TALLY_TENANTS_MAX ? atomic_load(&engine->tenants[times->tenant]) : NULL;
    if (times->tag == 0) {
        if (session)
            schedule_session_failed(session, (CUresult)times->error);
        return;
    }
    uint64_t arrived_ns;
    if (schedule_report(engine->schedule, times, &arrived_ns) && session)
        timing_launch_done(session, times, arrived_ns);
}

/* ---- sessions ---- */

void engine_attach(struct session *session)
{
    struct tally_engine *engine = session->engine;
    if (session->tenant_made)
        atomic_store(&engine->tenants[session->tenant], session);
    session->attached = true;
}

void engine_detach(struct session *session)
{
    struct tally_engine *engine = session->engine;
    pthread_mutex_lock(&engine->lock);
    session->attached = false;
    pthread_mutex_unlock(&engine->lock);
    if (session->tenant_made)
        atomic_store(&engine->tenants[session->tenant], NULL);
}

void engine_release(struct session *session)
{
    if (!session->tenant_made)
        return;
    session->driver->soft.tenant_destroy(session->tenant);
    /* The number may be given to another session now: this thread must not act in its name. */
    session->driver->soft.tenant_set(0);
}

void engine_watch(struct session *session) { watcher_add(session->engine->watcher, session); }
void engine_unwatch(struct session *session) { watcher_remove(session->engine->watcher, session); }

static bool config_is_sound(const struct tally_session_config *config)
{
    return config->slot_count > 0 && config->slot_count <= TALLY_SLOTS_MAX && config->slot_bytes > 0 &&
           config->slot_bytes % 4096 == 0 && config->slot_bytes <= (1u << 30);
}

int tally_engine_open(struct tally_engine *engine, const struct tally_session_config *config,
                      struct tally_open_reply *reply, char *error, size_t error_bytes)
{
    uint32_t index = SESSIONS_MAX;
    bool known = false;
    memset(reply, 0, sizeof *reply);
    pthread_mutex_lock(&engine->lock);
    for (uint32_t i = 0; i < SESSIONS_MAX; i++) {
        struct session *session = engine->sessions[i];
        index = !session && index == SESSIONS_MAX ? i : index;
        known |= session && session->config.session == config->session;
    }
    bool lost = engine->lost;
    pthread_mutex_unlock(&engine->lock);
    if (lost || known || index == SESSIONS_MAX || !config_is_sound(config)) {
        snprintf(error, error_bytes, "%s",
                 lost                    ? "the device's context is lost"
                 : known                 ? "the session is open already"
                 : index == SESSIONS_MAX ? "the executor has as many sessions as it can serve"
                                         : "the size of the segment makes no sense");
        return -1;
    }
    uint32_t descriptors = tally_descriptors_free();
    if (descriptors < DESCRIPTORS_PER_SESSION + DESCRIPTORS_KEPT) {
        snprintf(error, error_bytes,
                 "the executor may open only %u more file descriptors, and one more session could take the last; "
                 "see `descriptors_max` in the config", descriptors);
        return -1;
    }
    struct session *session = session_create(engine, config, index, reply, error, error_bytes);
    if (!session)
        return -1;
    pthread_mutex_lock(&engine->lock);
    engine->sessions[index] = session;
    pthread_mutex_unlock(&engine->lock);
    return 0;
}

int tally_engine_close(struct tally_engine *engine, uint64_t session, const char *reason)
{
    int result = -1;
    pthread_mutex_lock(&engine->lock);
    for (uint32_t i = 0; i < SESSIONS_MAX; i++) {
        if (!engine->sessions[i] || engine->sessions[i]->config.session != session)
            continue;
        session_end(engine->sessions[i], "%s", reason);
        result = 0;
    }
    pthread_mutex_unlock(&engine->lock);
    return result;
}

uint32_t tally_engine_snapshot(struct tally_engine *engine, struct tally_session_stats *stats, uint32_t max)
{
    uint32_t count = 0;
    pthread_mutex_lock(&engine->lock);
    for (uint32_t i = 0; i < SESSIONS_MAX && count < max; i++)
        if (engine->sessions[i]) {
            schedule_count(engine->sessions[i]);
            tally_stats_read(&engine->sessions[i]->stats, &stats[count++]);
        }
    pthread_mutex_unlock(&engine->lock);
    return count;
}

uint32_t tally_engine_running(struct tally_engine *engine, struct tally_running *running, uint32_t max)
{
    uint32_t count = 0;
    pthread_mutex_lock(&engine->lock);
    for (uint32_t i = 0; i < SESSIONS_MAX && count < max; i++)
        if (engine->sessions[i])
            count += schedule_running(engine->sessions[i], &running[count]);
    pthread_mutex_unlock(&engine->lock);
    return count;
}

const char *tally_engine_validate(struct tally_engine *engine)
{
    const char *wrong = NULL;
    pthread_mutex_lock(&engine->lock);
    for (uint32_t i = 0; i < SESSIONS_MAX && !wrong; i++) {
        if (!engine->sessions[i])
            continue;
        wrong = schedule_validate(engine->sessions[i]);
        if (!wrong)
            wrong = queues_validate(engine->sessions[i]);
    }
    pthread_mutex_unlock(&engine->lock);
    return wrong;
}

/* ---- start and end ---- */

void tally_engine_device(const struct tally_engine *engine, struct tally_device_info *info, int32_t *driver_version)
{
    *info = engine->info;
    *driver_version = engine->driver_version;
}

static CUresult set_up_soft(struct tally_engine *engine)
{
    const struct driver_soft *soft = &engine->driver.soft;
    const struct tally_engine_config *config = &engine->config;
    CUresult result = soft->configure(config->soft_devices, config->soft_workers, config->soft_memory_bytes,
                                      (int)config->soft_dry);
    if (!result)
        result = soft->set_part(config->device);
    if (!result)
        result = soft->set_output(on_output, engine);
    if (!result) /* with events too: launches have no tags then, but failures are told */
        result = soft->set_launch_done(on_launch_done, engine);
    return result;
}

static CUresult read_device(struct tally_engine *engine)
{
    const struct tally_driver *cu = &engine->driver.cu;
    struct tally_device_info *info = &engine->info;
    size_t total = 0;
    int version = 0;
    cu->cuDriverGetVersion(&version);
    engine->driver_version = version;
    CUresult result = cu->cuDeviceGetName(info->name, sizeof info->name, engine->device);
    if (!result)
        result = cu->cuDeviceTotalMem_v2(&total, engine->device);
    if (!result)
        result = cu->cuCtxGetStreamPriorityRange(&info->stream_priority_least, &info->stream_priority_greatest);
    info->total_bytes = total;
    CUuuid uuid = {{0}};
    if (cu->cuDeviceGetUuid_v2)
        cu->cuDeviceGetUuid_v2(&uuid, engine->device);
    memcpy(info->uuid, uuid.bytes, sizeof info->uuid);
    if (cu->cuDeviceGetPCIBusId)
        cu->cuDeviceGetPCIBusId(info->pci_bus_id, sizeof info->pci_bus_id, engine->device);
    for (int i = 1; i < (int)TALLY_DEVICE_ATTRIBUTES; i++)
        if (cu->cuDeviceGetAttribute(&info->attributes[i], (CUdevice_attribute)i, engine->device) != CUDA_SUCCESS)
            info->attributes[i] = 0;
    for (int i = 0; i < 16 && i < CU_LIMIT_MAX; i++) {
        size_t value = 0;
        if (cu->cuCtxGetLimit(&value, (CUlimit)i) == CUDA_SUCCESS)
            info->limits[i] = value;
    }
    return result;
}

/* The context that all sessions share. */
static CUresult take_device(struct tally_engine *engine)
{
    const struct tally_driver *cu = &engine->driver.cu;
    CUresult result = engine->driver.is_soft ? set_up_soft(engine) : CUDA_SUCCESS;
    if (!result)
        result = cu->cuInit(0);
    int count = 0;
    if (!result)
        result = cu->cuDeviceGetCount(&count);
    if (!result && (int)engine->config.device >= count)
        result = count ? CUDA_ERROR_INVALID_DEVICE : CUDA_ERROR_NO_DEVICE;
    if (!result)
        result = cu->cuDeviceGet(&engine->device, (int)engine->config.device);
    if (!result && cu->cuDevicePrimaryCtxSetFlags_v2) /* waiting threads sleep; fails harmlessly if active */
        cu->cuDevicePrimaryCtxSetFlags_v2(engine->device, CU_CTX_SCHED_BLOCKING_SYNC);
    if (!result)
        result = cu->cuDevicePrimaryCtxRetain(&engine->context, engine->device);
    if (!result)
        result = cu->cuCtxSetCurrent(engine->context);
    return result ? result : read_device(engine);
}

static bool start(struct tally_engine *engine, const struct tally_engine_config *config, char *error, size_t error_bytes)
{
    const char *why = NULL;
    char text[64];
    if (tally_zmq_load(&why) != 0) {
        snprintf(error, error_bytes, "%s", why);
        return false;
    }
    if (!driver_load(&engine->driver, config->driver, config->soft, error, error_bytes))
        return false;
    CUresult result = take_device(engine);
    if (result != CUDA_SUCCESS) {
        snprintf(error, error_bytes, "device %u cannot be used: %s", config->device,
                 driver_error_text(&engine->driver, result, text, sizeof text));
        return false;
    }
    int least, greatest;
    engine_stream_priorities(engine, &least, &greatest);
    engine->driver.cu.cuStreamCreateWithPriority(&engine->urgent, CU_STREAM_NON_BLOCKING, greatest);
    engine->quota = quota_create(&(struct quota_limits){
        .session_bytes_max = config->pinned_bytes_session_max,
        .job_bytes_max = config->pinned_bytes_job_max,
        .bytes_max = config->pinned_bytes_max,
    });
    engine->images = image_cache_create();
    engine->rewriter = rewriter_create(engine);
    engine->schedule = schedule_create(engine);
    engine->kernels = kernels_create();
    engine->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    engine->zmq = tally_zmq.ctx_new();
    if (engine->zmq)
        engine->watcher = watcher_create();
    if (engine->quota && engine->images && engine->rewriter && engine->schedule && engine->kernels && engine->urgent &&
        engine->event_fd >= 0 && engine->watcher && guard_install())
        return true;
    snprintf(error, error_bytes, "cannot start: %s", strerror(errno));
    return false;
}

struct tally_engine *tally_engine_create(const struct tally_engine_config *config, char *error, size_t error_bytes)
{
    struct tally_engine *engine = calloc(1, sizeof *engine);
    if (!engine)
        return NULL;
    pthread_mutex_init(&engine->lock, NULL);
    trace_open(&engine->trace);
    engine->event_fd = -1;
    engine->config = *config;
    engine->config.driver = strdup(config->driver);
    engine->config.runtime_dir = strdup(config->runtime_dir);
    if (config->soft && config->soft_dry)
        engine->config.rewrite = NULL; /* a guarded kernel that is skipped would never have run its blocks */
    if (start(engine, config, error, error_bytes))
        return engine;
    tally_engine_destroy(engine);
    return NULL;
}

static bool end_all(struct tally_engine *engine)
{
    bool any = false;
    pthread_mutex_lock(&engine->lock);
    for (uint32_t i = 0; i < SESSIONS_MAX; i++) {
        if (!engine->sessions[i])
            continue;
        any = true;
        session_end(engine->sessions[i], "the executor shuts down");
    }
    pthread_mutex_unlock(&engine->lock);
    return any;
}

void tally_engine_destroy(struct tally_engine *engine)
{
    struct tally_engine_event event;
    while (end_all(engine)) {
        struct tally_zmq_poll item = {.fd = engine->event_fd, .events = TALLY_ZMQ_POLLIN};
        tally_zmq.poll(&item, 1, 1000);
        while (tally_engine_next_event(engine, &event))
            ;
    }
    while (engine->event_fd >= 0 && tally_engine_next_event(engine, &event))
        ;
    if (engine->watcher)
        watcher_destroy(engine->watcher);
    if (engine->zmq)
        tally_zmq.ctx_term(engine->zmq);
    if (engine->rewriter)
        rewriter_destroy(engine->rewriter);
    if (engine->images)
        image_cache_destroy(engine->images);
    if (engine->urgent)
        engine->driver.cu.cuStreamDestroy_v2(engine->urgent);
    if (engine->context)
        engine->driver.cu.cuDevicePrimaryCtxRelease_v2(engine->device);
    if (engine->schedule)
        schedule_destroy(engine->schedule);
    if (engine->kernels)
        kernels_destroy(engine->kernels);
    if (engine->quota)
        quota_destroy(engine->quota);
    trace_close(&engine->trace);
    if (engine->event_fd >= 0)
        close(engine->event_fd);
    pthread_mutex_destroy(&engine->lock);
    free((char *)engine->config.driver);
    free((char *)engine->config.runtime_dir);
    free(engine);
}

void *tally_engine_buffer(size_t bytes) { return calloc(1, bytes ? bytes : 1); }

int tally_engine_set_policy(struct tally_engine *engine, uint32_t policy)
{
    return schedule_set_policy(engine->schedule, policy);
}

uint32_t tally_engine_policy(struct tally_engine *engine) { return schedule_policy(engine->schedule); }

int tally_engine_set_limits(struct tally_engine *engine, const struct tally_sched_limits *limits)
{
    return schedule_set_limits(engine->schedule, limits);
}

void tally_engine_schedule(struct tally_engine *engine, struct tally_sched_stats *stats)
{
    schedule_read(engine->schedule, stats);
}

uint32_t tally_engine_export_plans(struct tally_engine *engine, struct tally_plan_record *records, uint32_t max)
{
    return schedule_export_plans(engine->schedule, records, max);
}

uint64_t tally_engine_plans_evicted(struct tally_engine *engine)
{
    return schedule_plans_evicted(engine->schedule);
}

uint32_t tally_engine_import_plans(struct tally_engine *engine, const struct tally_plan_record *records,
                                   uint32_t count)
{
    return schedule_import_plans(engine->schedule, records, count);
}

int tally_engine_kernel(struct tally_engine *engine, uint64_t signature, struct tally_kernel *kernel)
{
    return kernels_find(engine->kernels, signature, kernel);
}

int tally_engine_trace_start(struct tally_engine *engine, uint32_t records_max)
{
    return trace_start(&engine->trace, records_max);
}

void tally_engine_trace_stop(struct tally_engine *engine) { trace_stop(&engine->trace); }

uint32_t tally_engine_trace_read(struct tally_engine *engine, struct tally_trace_record *records, uint32_t max,
                                 uint64_t *lost)
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
