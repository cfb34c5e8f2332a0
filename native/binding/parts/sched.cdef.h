/* native/include/tally/sched.h, as Python sees it; the compiler checks it against that header. */
#define TALLY_SCHED_INSTRUCTIONS_MIN ...
#define TALLY_SCHED_BUCKETS ...

enum tally_sched_error {
    TALLY_SCHED_INVALID = -1,
    TALLY_SCHED_FULL = -2,
};

enum tally_sched_class { TALLY_SCHED_BEST_EFFORT = 0, TALLY_SCHED_HIGH = 1 };

enum tally_sched_plan_kind {
    TALLY_SCHED_WHOLE = 0,
    TALLY_SCHED_SLICED = 1,
    TALLY_SCHED_PREEMPTIBLE = 2,
};

struct tally_sched_plan {
    uint32_t kind;
    uint32_t slice_blocks;
    uint64_t whole_ns;
    uint64_t slice_ns;
    uint64_t stop_ns;
    uint32_t guardable, reserved;
};

struct tally_sched_limits {
    uint64_t turnaround_ns_max;
    uint64_t alone_ns_max;
    uint64_t hysteresis_ns;
    uint64_t gap_wait_ns_max;
    uint64_t quantum_ns;
    uint64_t timeslice_ns;
    uint32_t preemptible_depth;
    uint32_t stops_permil_max;
    uint32_t best_effort_permil_min;
    uint32_t watchdog_times;
    uint64_t watchdog_ns_min;
};

struct tally_sched_config {
    uint32_t sessions_max, queues_max, launches_max;
    uint32_t session_launches_max;
    uint32_t levels;
    uint32_t policy;
    struct tally_sched_limits limits;
};

enum tally_sched_event_type {
    TALLY_SCHED_CONTINUE = 0,
    TALLY_SCHED_SESSION_OPEN = 1,
    TALLY_SCHED_SESSION_SET = 2,
    TALLY_SCHED_SESSION_CLOSE = 3,
    TALLY_SCHED_LAUNCH = 4,
    TALLY_SCHED_STARTED = 5,
    TALLY_SCHED_FINISHED = 6,
    TALLY_SCHED_PREEMPTED = 7,
    TALLY_SCHED_FAILED = 8,
    TALLY_SCHED_TIMER = 9,
    TALLY_SCHED_SET_POLICY = 10,
    TALLY_SCHED_SET_LIMITS = 11,
    TALLY_SCHED_WORK = 12,
    TALLY_SCHED_WORK_ENDED = 13,
    TALLY_SCHED_RECALLED = 14,
    TALLY_SCHED_COMING = 15,
    TALLY_SCHED_CAME = 16,
};

struct tally_sched_event {
    uint32_t type;
    uint32_t session, queue, launch;
    uint32_t class_, weight;
    int32_t priority;
    uint32_t policy;
    uint32_t blocks, lo, hi;
    uint32_t started, transfer;
    uint64_t job;
    uint64_t gpu_ns;
    uint64_t began_ns;
    uint64_t cleared_ns;
    struct tally_sched_plan plan;
    struct tally_sched_limits limits;
};

enum tally_sched_instruction_type {
    TALLY_SCHED_START = 1,
    TALLY_SCHED_PREEMPT = 2,
    TALLY_SCHED_COMPLETE = 3,
    TALLY_SCHED_DROPPED = 4,
    TALLY_SCHED_CLOSED = 5,
    TALLY_SCHED_SET_TIMER = 6,
    TALLY_SCHED_RESCUE = 7,
};

enum tally_sched_start_flag {
    TALLY_SCHED_START_PREEMPTIBLE = 1,
    TALLY_SCHED_START_FINAL = 2,
    TALLY_SCHED_START_RESUMED = 4,
};

struct tally_sched_instruction {
    uint32_t type;
    uint32_t launch, session;
    uint32_t lo, hi;
    uint32_t level;
    uint32_t flags;
    uint32_t epoch;
    uint64_t time_ns;
};

struct tally_sched_histogram {
    uint64_t count, sum, max;
    uint64_t buckets[...];
};

struct tally_sched_stats {
    struct tally_sched_histogram turnaround_ns;
    uint64_t turnaround_unmet, turnaround_missed;
    uint64_t turnaround_estimated_ns;
    uint64_t turnaround_error_ns;
    uint64_t oversized;
    uint64_t rescues;
};

struct tally_sched_session_stats {
    uint64_t launches, completed;
    uint64_t starts, preemptions;
    uint64_t waited_ns;
    uint64_t gpu_ns;
};

struct tally_sched;

struct tally_sched *tally_sched_create(const struct tally_sched_config *config);
void tally_sched_destroy(struct tally_sched *sched);
void tally_sched_config_default(struct tally_sched_config *config);

int tally_sched_handle(struct tally_sched *sched, const struct tally_sched_event *event, uint64_t now_ns,
                       struct tally_sched_instruction *out, size_t max);

const char *tally_sched_validate(const struct tally_sched *sched);

bool tally_sched_has_room(const struct tally_sched *sched, uint32_t session);

bool tally_sched_high_at_once(const struct tally_sched *sched);
bool tally_sched_is_stale(const struct tally_sched *sched, const struct tally_sched_instruction *start);
uint32_t tally_sched_policy(const struct tally_sched *sched);

void tally_sched_read_stats(const struct tally_sched *sched, struct tally_sched_stats *stats);
int tally_sched_read_session(const struct tally_sched *sched, uint32_t session,
                             struct tally_sched_session_stats *stats);
int tally_sched_read_turnaround(const struct tally_sched *sched, uint32_t session,
                                struct tally_sched_histogram *turnaround_ns);
uint64_t tally_sched_bucket_floor(uint32_t bucket);

uint32_t tally_sched_policy_count(void);
const char *tally_sched_policy_name(uint32_t policy);
const char *tally_sched_policy_text(uint32_t policy);
enum tally_sched_policy_trait {
    TALLY_SCHED_HIGH_AT_ONCE = 1,
    TALLY_SCHED_LEVELS = 2,
    TALLY_SCHED_GIVES_WAY = 4,
    TALLY_SCHED_BOUNDED = 8,
};
uint32_t tally_sched_policy_traits(uint32_t policy);

/* native/include/tally/plan.h */
#define TALLY_PLAN_MEASUREMENTS ...

enum tally_plan_ability { TALLY_PLAN_CAN_GUARD = 1, TALLY_PLAN_CAN_SLICE = 2, TALLY_PLAN_WAITS = 4 };

enum tally_plan_measurement {
    TALLY_PLAN_WHOLE = 0,
    TALLY_PLAN_GUARDED = 1,
    TALLY_PLAN_SLICE = 2,
    TALLY_PLAN_STOP = 3,
};

struct tally_plan_record {
    uint64_t signature;
    uint64_t ns[...];
    uint32_t count[...];
    uint32_t blocks;
    uint32_t slice_blocks;
    uint32_t resident;
    uint32_t abilities;
    uint64_t error_ns;
};

struct tally_plans;

struct tally_plans *tally_plans_create(uint32_t records_max);
void tally_plans_destroy(struct tally_plans *plans);

void tally_plans_declare(struct tally_plans *plans, uint64_t signature, uint32_t blocks, uint32_t resident,
                         uint32_t abilities);

void tally_plans_never_stop(struct tally_plans *plans, uint64_t signature);
void tally_plans_measure(struct tally_plans *plans, uint64_t signature, enum tally_plan_measurement what,
                         uint32_t blocks, uint64_t ns);

void tally_plans_plan(const struct tally_plans *plans, uint64_t signature, uint64_t turnaround_ns_max,
                      struct tally_sched_plan *plan);

void tally_plan_choose(const struct tally_plan_record *record, uint64_t turnaround_ns_max,
                       struct tally_sched_plan *plan);

uint32_t tally_plans_export(struct tally_plans *plans, struct tally_plan_record *records, uint32_t max);
uint32_t tally_plans_list(const struct tally_plans *plans, struct tally_plan_record *records, uint32_t max);

bool tally_plans_import(struct tally_plans *plans, const struct tally_plan_record *record);
uint32_t tally_plans_count(const struct tally_plans *plans);
const char *tally_plans_validate(const struct tally_plans *plans);

/* native/sched/sim.h */
#define TALLY_SIM_QUANTILES ...

struct tally_sim_device {
    uint32_t units;
    uint32_t contention_permil;
    uint32_t interleave;
    uint32_t reserved;
    uint64_t launch_ns;
    uint64_t gap_ns;
    uint64_t completion_ns;
    uint64_t flag_ns;
    uint64_t skip_ns;
    uint64_t guard_ns;
    uint64_t forward_ns;
    uint64_t reply_ns;
};

struct tally_sim_kernel {
    uint32_t blocks;
    uint32_t units;
    uint32_t spread_permil;
    uint32_t reserved;
    struct tally_sched_plan plan;
    uint64_t block_ns[...];
};

enum { TALLY_SIM_SYNC = -1 };
struct tally_sim_op {
    int32_t kernel;
    uint32_t reserved;
    uint64_t cpu_ns;
};

struct tally_sim_client {
    uint32_t class_, weight;
    int32_t priority;
    uint32_t program_count;
    const struct tally_sim_op *ops;
    const uint32_t *program_ends;
    const uint64_t *arrivals;
    uint64_t arrival_count;
    uint64_t seed;
    uint64_t job;
};

struct tally_sim_result {
    uint64_t programs;
    uint64_t launches;
    uint64_t busy_ns;
    uint64_t ops_done;
};

struct tally_sim;

struct tally_sim *tally_sim_create(const struct tally_sim_device *device, const struct tally_sched_config *config,
                                   const struct tally_sim_kernel *kernels, uint32_t kernel_count,
                                   const struct tally_sim_client *clients, uint32_t client_count);
void tally_sim_destroy(struct tally_sim *sim);

const char *tally_sim_run(struct tally_sim *sim, uint64_t end_ns, bool check);

void tally_sim_read(const struct tally_sim *sim, uint32_t client, struct tally_sim_result *result);

uint64_t tally_sim_latencies(const struct tally_sim *sim, uint32_t client, uint64_t *service_ns,
                             uint64_t *response_ns, uint64_t max);
const struct tally_sched *tally_sim_sched(const struct tally_sim *sim);
uint64_t tally_sim_events(const struct tally_sim *sim);

/* native/include/tally/rates.h */
#define TALLY_TRANSFER_KINDS ...
#define TALLY_TRANSFER_PIECE_BYTES ...
enum tally_transfer_kind {
    TALLY_TRANSFER_TO_DEVICE = 0,
    TALLY_TRANSFER_TO_HOST = 1,
    TALLY_TRANSFER_ON_DEVICE = 2,
    TALLY_TRANSFER_FILL = 3,
};
struct tally_rates {
    uint64_t ps_per_byte[4];
    bool measured[4];
};
void tally_rates_init(struct tally_rates *rates);
void tally_rates_measure(struct tally_rates *rates, enum tally_transfer_kind kind, uint64_t bytes,
                         uint64_t ns);
uint64_t tally_rates_estimate(const struct tally_rates *rates, enum tally_transfer_kind kind,
                              uint64_t bytes);
void tally_rates_plan(const struct tally_rates *rates, enum tally_transfer_kind kind,
                      uint64_t bytes, uint32_t blocks, uint64_t turnaround_ns_max,
                      struct tally_sched_plan *plan);
