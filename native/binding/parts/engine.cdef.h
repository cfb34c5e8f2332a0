/* native/engine/engine.h and what it needs. */
#define TALLY_REASON_BYTES ...
#define TALLY_HISTOGRAM_BUCKETS ...
#define TALLY_COUNTERS ...
#define TALLY_TIMINGS ...

struct tally_histogram {
    uint64_t count, sum_ns, max_ns;
    uint64_t buckets[...];
};
struct tally_session_stats {
    uint64_t session;
    int32_t sticky_error;
    uint64_t counters[...];
    struct tally_histogram timings[...];
    ...;
};
void tally_histogram_add(struct tally_histogram *histogram, uint64_t value_ns);
void tally_histogram_take(struct tally_histogram *histogram, const struct tally_sched_histogram *from);
uint64_t tally_histogram_floor_ns(uint32_t bucket);
const char *tally_counter_name(uint32_t counter);
const char *tally_timing_name(uint32_t timing);

struct tally_engine;
struct tally_engine_config {
    const char *driver, *runtime_dir, *waiting_kernels;
    uint32_t device, connect_ms_max, event_timing, soft, soft_devices, soft_workers, soft_dry;
    uint64_t soft_memory_bytes, queue_bytes_max, module_bytes_max;
    uint32_t plans_max, stream_queues_max, gated_launches_max, blocking_calls_max;
    uint32_t pinned_pieces_max, stream_waits_max;
    uint64_t pinned_bytes_max, pinned_bytes_job_max, pinned_bytes_session_max;
    void *(*rewrite)(const void *image, size_t bytes, size_t *text_bytes);
    int (*rewrite_beside)(const void *image, size_t bytes, char **text);
    ...;
};
struct tally_session_config {
    uint64_t session, job, process;
    uint32_t pid, uid, gid, high;
    int32_t priority;
    uint32_t weight;
    uint32_t slot_count, slot_bytes;
    uint64_t memory_limit_bytes;
    ...;
};
enum tally_engine_event_type { TALLY_ENGINE_CLOSED, TALLY_ENGINE_FAULT, TALLY_ENGINE_LOST,
                               TALLY_ENGINE_NOTICE, TALLY_ENGINE_RESCUED, ... };
struct tally_engine_event {
    uint32_t type;
    int32_t error;
    uint64_t session;
    char reason[...];
    struct tally_session_stats stats;
};
struct tally_engine *tally_engine_create(const struct tally_engine_config *config, char *error, size_t error_bytes);
void tally_engine_destroy(struct tally_engine *engine);
void tally_engine_device(const struct tally_engine *engine, struct tally_device_info *info, int32_t *driver_version);
int tally_engine_open(struct tally_engine *engine, const struct tally_session_config *config,
                      struct tally_open_reply *reply, char *error, size_t error_bytes);
int tally_engine_close(struct tally_engine *engine, uint64_t session, const char *reason);
int tally_engine_event_fd(const struct tally_engine *engine);
int tally_engine_next_event(struct tally_engine *engine, struct tally_engine_event *event);
uint32_t tally_engine_snapshot(struct tally_engine *engine, struct tally_session_stats *stats, uint32_t max);
int tally_engine_die_with_parent(int parent, int signal);
void *tally_engine_buffer(size_t bytes);
extern "Python" void *tally_rewrite(const void *image, size_t bytes, size_t *text_bytes);
extern "Python" int tally_rewrite_beside(const void *image, size_t bytes, char **text);
const char *tally_engine_validate(struct tally_engine *engine);
int tally_engine_set_policy(struct tally_engine *engine, uint32_t policy);
uint32_t tally_engine_policy(struct tally_engine *engine);
int tally_engine_set_limits(struct tally_engine *engine, const struct tally_sched_limits *limits);
void tally_engine_schedule(struct tally_engine *engine, struct tally_sched_stats *stats);
uint32_t tally_engine_export_plans(struct tally_engine *engine, struct tally_plan_record *records, uint32_t max);
struct tally_running { uint64_t session, signature, ns; ...; };
uint32_t tally_engine_running(struct tally_engine *engine, struct tally_running *running, uint32_t max);
uint64_t tally_engine_plans_evicted(struct tally_engine *engine);
uint32_t tally_engine_import_plans(struct tally_engine *engine, const struct tally_plan_record *records,
                                   uint32_t count);

#define TALLY_KERNEL_NAME_BYTES ...
struct tally_kernel {
    uint64_t signature, code;
    uint32_t grid[3], block[3];
    uint32_t dynamic_shared_bytes, blocks_per_sm, abilities;
    char name[...];
    ...;
};
enum tally_trace_kind { TALLY_TRACE_LAUNCH, TALLY_TRACE_REQUEST, ... };
enum tally_trace_flag { TALLY_TRACE_GUARDED, TALLY_TRACE_UNTIMED, ... };
#define TALLY_TRACE_NO_STREAM ...
struct tally_trace_record {
    uint64_t session, signature, submit_ns, issue_ns, start_ns, end_ns, device_ns;
    uint32_t stream, starts, preemptions;
    uint16_t kind, flags;
    ...;
};
int tally_engine_kernel(struct tally_engine *engine, uint64_t signature, struct tally_kernel *kernel);
int tally_engine_trace_start(struct tally_engine *engine, uint32_t records_max);
void tally_engine_trace_stop(struct tally_engine *engine);
uint32_t tally_engine_trace_read(struct tally_engine *engine, struct tally_trace_record *records, uint32_t max,
                                 uint64_t *lost);
uint32_t tally_engine_times_reported(const struct tally_engine *engine);
