/* native/include/tally/protocol.h. Sizes are numbers here, so that cffi holds them against the header when
 * the module is built. */
#define TALLY_PROTOCOL_VERSION ...
#define TALLY_CONTROL_MAGIC ...
#define TALLY_PAGE_MAGIC ...
#define TALLY_HANDOVER_MAGIC ...
#define TALLY_MESSAGE_BYTES_MAX ...
#define TALLY_INLINE_BYTES_MAX ...
#define TALLY_PARAM_BYTES_MAX ...
#define TALLY_PARAMS_MAX ...
#define TALLY_ATTRIBUTES_MAX ...
#define TALLY_NAME_BYTES_MAX ...
#define TALLY_PATH_BYTES_MAX ...
#define TALLY_LOG_BYTES_MAX ...
#define TALLY_DEVICES_MAX ...
#define TALLY_DEVICE_ATTRIBUTES ...
#define TALLY_FUNCTION_ATTRIBUTES ...
#define TALLY_SLOTS_MAX ...
#define TALLY_HANDLE_TAG ...
#define TALLY_INDEX_MAX ...
#define TALLY_STREAM_LEGACY ...

enum tally_control_type {
    TALLY_CONTROL_HELLO = 1,
    TALLY_CONTROL_OPEN = 2,
    TALLY_CONTROL_UNSUPPORTED = 3,
    TALLY_CONTROL_REQUEST = 16,
};

enum tally_status {
    TALLY_STATUS_OK = 0,
    TALLY_STATUS_BAD_MESSAGE = 1,
    TALLY_STATUS_BAD_VERSION = 2,
    TALLY_STATUS_REFUSED = 3,
    TALLY_STATUS_UNAVAILABLE = 4,
    TALLY_STATUS_INTERNAL = 5,
};

struct tally_control_header {
    uint32_t magic;
    uint16_t version;
    uint16_t type;
    uint32_t sequence;
    int32_t status;
};

struct tally_hello {
    uint32_t pid;
    uint32_t api_version;
    char job[64];
    char program[128];
};

struct tally_hello_reply {
    uint64_t session;
    uint32_t device_count;
    int32_t driver_version;
};

struct tally_device_info {
    char name[256];
    uint8_t uuid[16];
    uint64_t total_bytes;
    int32_t stream_priority_least;
    int32_t stream_priority_greatest;
    uint64_t limits[16];
    char pci_bus_id[32];
    int32_t attributes[192];
};

struct tally_open {
    uint64_t session;
    uint32_t device;
    uint32_t reserved;
};

struct tally_open_reply {
    char ops[256];
    char replies[256];
    char segment[256];
    uint64_t segment_bytes;
    uint32_t slot_count;
    uint32_t slot_bytes;
    uint64_t device_region_base;
    uint64_t device_region_bytes;
};

struct tally_unsupported {
    char symbol[96];
    uint64_t count;
};

struct tally_handover {
    uint32_t magic, version;
    uint64_t number, bytes;
};
struct tally_session_page {
    uint32_t magic;
    uint32_t version;
    uint32_t sticky_error;
    uint32_t closed;
    uint64_t ops_handled;
    uint32_t reserved[10];
    uint32_t done[64];
    char reason[256];
    uint8_t pad[3520];
};

enum tally_kind {
    TALLY_KIND_CONTEXT = 1,
    TALLY_KIND_STREAM = 2,
    TALLY_KIND_EVENT = 3,
    TALLY_KIND_MODULE = 4,
    TALLY_KIND_FUNCTION = 5,
    TALLY_KIND_LIBRARY = 6,
    TALLY_KIND_KERNEL = 7,
    TALLY_KIND_ARRAY = 8,
};

enum tally_op_code {
    TALLY_OP_BYE = 1,
    TALLY_OP_MEM_ALLOC = 2,
    TALLY_OP_MEM_FREE = 3,
    TALLY_OP_HOST_ALLOC = 4,
    TALLY_OP_HOST_FREE = 5,
    TALLY_OP_COPY = 6,
    TALLY_OP_MEMSET = 7,
    TALLY_OP_UPLOAD = 8,
    TALLY_OP_MODULE_LOAD = 9,
    TALLY_OP_MODULE_UNLOAD = 10,
    TALLY_OP_GET_FUNCTION = 11,
    TALLY_OP_GET_GLOBAL = 12,
    TALLY_OP_LAUNCH = 13,
    TALLY_OP_STREAM_CREATE = 14,
    TALLY_OP_STREAM_DESTROY = 15,
    TALLY_OP_STREAM_SYNC = 16,
    TALLY_OP_STREAM_QUERY = 17,
    TALLY_OP_STREAM_WAIT_EVENT = 18,
    TALLY_OP_STREAM_VALUE = 19,
    TALLY_OP_EVENT_CREATE = 20,
    TALLY_OP_EVENT_DESTROY = 21,
    TALLY_OP_EVENT_RECORD = 22,
    TALLY_OP_EVENT_SYNC = 23,
    TALLY_OP_EVENT_QUERY = 24,
    TALLY_OP_EVENT_ELAPSED = 25,
    TALLY_OP_CTX_SYNC = 26,
    TALLY_OP_MEM_INFO = 27,
    TALLY_OP_LIST_FUNCTIONS = 28,
    TALLY_OP_GENERATED = 256,
};

struct tally_op {
    uint16_t code;
    uint16_t flags;
    uint32_t bytes;
    uint64_t call_id;
};

enum tally_reply_kind {
    TALLY_REPLY_RESULT = 0,
    TALLY_REPLY_STDOUT = 1,
    TALLY_REPLY_STDERR = 2,
};

struct tally_reply {
    uint16_t code;
    uint16_t kind;
    uint32_t bytes;
    uint64_t call_id;
    int32_t result;
    int32_t async_error;
};

struct tally_op_mem_alloc { struct tally_op op; uint64_t bytes; };
struct tally_reply_mem_alloc { struct tally_reply reply; uint64_t address; };
struct tally_op_mem_free { struct tally_op op; uint64_t address; };
struct tally_op_host_alloc { struct tally_op op; uint64_t bytes; uint32_t flags; uint32_t reserved; };
struct tally_reply_host_alloc {
    struct tally_reply reply;
    uint64_t address;
    uint64_t bytes;
    uint64_t number;
};

struct tally_op_host_free { struct tally_op op; uint64_t address; };
enum tally_place {
    TALLY_PLACE_DEVICE = 0,
    TALLY_PLACE_PINNED = 1,
    TALLY_PLACE_SLOT = 2,
    TALLY_PLACE_INLINE = 3,
};

struct tally_op_copy {
    struct tally_op op;
    uint64_t stream;
    uint64_t dst, src;
    uint64_t width, height, depth;
    uint64_t dst_pitch, dst_slice;
    uint64_t src_pitch, src_slice;
    uint16_t dst_place, src_place;
    uint32_t slot;
    uint32_t slot_sequence;
    uint32_t reserved;
};

struct tally_op_memset {
    struct tally_op op;
    uint64_t stream;
    uint64_t dst, pitch;
    uint64_t width, height;
    uint32_t value;
    uint32_t element_bytes;
};

struct tally_op_upload { struct tally_op op; uint64_t upload; uint64_t total, offset, bytes; uint32_t slot, slot_sequence; };
enum tally_image_source { TALLY_IMAGE_FILE = 1, TALLY_IMAGE_UPLOAD = 2, TALLY_IMAGE_INLINE = 3, TALLY_IMAGE_HASH = 4 };
enum { TALLY_RESULT_NEED_IMAGE = -1 };
struct tally_op_module_load {
    struct tally_op op;
    uint64_t module;
    uint64_t offset, bytes;
    uint64_t upload;
    uint8_t hash[32];
    uint32_t source;
    uint32_t log_bytes;
    uint32_t tail_bytes;
    uint32_t reserved;
};

struct tally_reply_module_load { struct tally_reply reply; uint32_t log_bytes; uint32_t reserved; };
struct tally_op_module_unload { struct tally_op op; uint64_t module; };
struct tally_op_get_function { struct tally_op op; uint64_t module; uint64_t function; uint32_t name_bytes; uint32_t reserved; };
struct tally_param { uint32_t offset, bytes; };
struct tally_reply_get_function {
    struct tally_reply reply;
    int32_t attributes[32];
    uint32_t param_count;
    uint32_t param_bytes;
};

struct tally_op_get_global { struct tally_op op; uint64_t module; uint32_t name_bytes; uint32_t reserved; };
struct tally_reply_get_global { struct tally_reply reply; uint64_t address; uint64_t bytes; };
struct tally_op_list_functions { struct tally_op op; uint64_t module; uint32_t first, reserved; };
struct tally_reply_list_functions { struct tally_reply reply; uint32_t count, name_bytes, total, reserved; };
enum { TALLY_LAUNCH_COOPERATIVE = 1 };
struct tally_op_launch {
    struct tally_op op;
    uint64_t function;
    uint64_t stream;
    uint32_t grid[3], block[3];
    uint32_t dynamic_shared_bytes;
    uint32_t flags;
    uint32_t attribute_count;
    uint32_t param_bytes;
};

struct tally_op_stream_create { struct tally_op op; uint64_t stream; uint32_t flags; int32_t priority; };
struct tally_op_stream { struct tally_op op; uint64_t stream; };
struct tally_op_stream_wait_event { struct tally_op op; uint64_t stream, event; uint32_t flags, reserved; };
struct tally_op_stream_value { struct tally_op op; uint64_t stream, address, value; uint32_t flags; uint8_t wait, wide, pad[2]; };
struct tally_op_event_create { struct tally_op op; uint64_t event; uint32_t flags, reserved; };
struct tally_op_event { struct tally_op op; uint64_t event; };
struct tally_op_event_record { struct tally_op op; uint64_t event, stream; uint32_t flags, reserved; };
struct tally_op_event_elapsed { struct tally_op op; uint64_t start, end; };
struct tally_reply_event_elapsed { struct tally_reply reply; float elapsed_ms; uint32_t reserved; };
struct tally_reply_mem_info { struct tally_reply reply; uint64_t free_bytes, total_bytes; };
