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
};

struct tally_sched_limits {
    uint64_t turnaround_ns_max;
    uint64_t hysteresis_ns;
    uint64_t oversized_idle_ns;
    uint64_t quantum_ns;
    uint64_t timeslice_ns;
    uint32_t preemptible_depth;
    uint32_t reserved;
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
};

struct tally_sched_event {
    uint32_t type;
    uint32_t session, queue, launch;
    uint32_t class_, weight;
    int32_t priority;
    uint32_t policy;
    uint32_t blocks, lo, hi;
    uint32_t started;
    uint64_t gpu_ns;
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
    uint32_t reserved;
    uint64_t time_ns;
};

struct tally_sched_histogram {
    uint64_t count, sum, max;
    uint64_t buckets[...];
};

struct tally_sched_stats {
    struct tally_sched_histogram turnaround_ns;
    uint64_t turnaround_unmet;
    uint64_t turnaround_estimated_ns;
    uint64_t turnaround_error_ns;
    uint64_t oversized;
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
uint32_t tally_sched_policy(const struct tally_sched *sched);

void tally_sched_read_stats(const struct tally_sched *sched, struct tally_sched_stats *stats);
int tally_sched_read_session(const struct tally_sched *sched, uint32_t session,
                             struct tally_sched_session_stats *stats);

uint64_t tally_sched_bucket_floor(uint32_t bucket);

uint32_t tally_sched_policy_count(void);
const char *tally_sched_policy_name(uint32_t policy);
const char *tally_sched_policy_text(uint32_t policy);
