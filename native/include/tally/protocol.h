/* Tally's wire protocol, as C sees it. docs/protocol.md is the authority; this file is its codec.
 *
 * Two planes:
 *   control  DEALER (client) <-> ROUTER (tallyd), ipc://RUNTIME/control.sock, two frames a message:
 *            tally_control_header, payload. The shim sends HELLO, OPEN and UNSUPPORTED with the
 *            structs below; the command line sends REQUEST with JSON.
 *   data     two one-directional sockets per session and device, both bound by the executor:
 *            ops     client PUSH -> executor PULL, one frame: tally_op, body
 *            replies executor PUSH -> client PULL, one frame: tally_reply, body
 *
 * All integers are little-endian, all structs naturally aligned without implicit padding, strings
 * are UTF-8 without NUL unless a fixed array says otherwise. Nothing here may be trusted by the
 * executor.
 */
#ifndef TALLY_PROTOCOL_H
#define TALLY_PROTOCOL_H

#include <stdint.h>

#define TALLY_PROTOCOL_VERSION 2u
#define TALLY_CONTROL_MAGIC 0x43594c54u  /* "TLYC" */
#define TALLY_PAGE_MAGIC 0x50594c54u     /* "TLYP" */
#define TALLY_HANDOVER_MAGIC 0x4d594c54u /* "TLYM" */

/* Limits. A message beyond one ends its session. */
#define TALLY_MESSAGE_BYTES_MAX (256u * 1024u)
#define TALLY_INLINE_BYTES_MAX (16u * 1024u) /* copies up to this ride in the message */
#define TALLY_PARAM_BYTES_MAX 32764u         /* CUDA's own limit since 12.1 */
#define TALLY_PARAMS_MAX 4096u
#define TALLY_ATTRIBUTES_MAX 32u
#define TALLY_NAME_BYTES_MAX 4096u /* kernel and global names, mangled */
#define TALLY_PATH_BYTES_MAX 4096u
#define TALLY_LOG_BYTES_MAX (64u * 1024u)
#define TALLY_DEVICES_MAX 16u
#define TALLY_DEVICE_ATTRIBUTES 192u
#define TALLY_FUNCTION_ATTRIBUTES 32u
#define TALLY_SLOTS_MAX 64u
#define TALLY_END_REASON_BYTES 256u /* in the session page */

/* ---- control plane -------------------------------------------------------------------------- */

enum tally_control_type {
    TALLY_CONTROL_HELLO = 1,       /* tally_hello -> tally_hello_reply, tally_device_info[] */
    TALLY_CONTROL_OPEN = 2,        /* tally_open -> tally_open_reply */
    TALLY_CONTROL_UNSUPPORTED = 3, /* tally_unsupported, no reply */
    TALLY_CONTROL_REQUEST = 16,    /* JSON -> JSON */
};

/* Status of a control reply. Non-zero: the payload is one line of text for a person. */
enum tally_status {
    TALLY_STATUS_OK = 0,
    TALLY_STATUS_BAD_MESSAGE = 1,
    TALLY_STATUS_BAD_VERSION = 2,
    TALLY_STATUS_REFUSED = 3,     /* limits, drain, unknown job */
    TALLY_STATUS_UNAVAILABLE = 4, /* no executor for that device at present */
    TALLY_STATUS_INTERNAL = 5,
};

struct tally_control_header {
    uint32_t magic;
    uint16_t version;
    uint16_t type;
    uint32_t sequence; /* chosen by the sender, echoed in the reply */
    int32_t status;    /* 0 in requests */
};

struct tally_hello {
    uint32_t pid;
    uint32_t api_version; /* CUDA version of the table that the shim was generated from */
    char job[64];         /* job id from TALLY_JOB, NUL padded; empty: tallyd makes a job */
    char program[128];    /* for people: basename of argv[0], NUL padded */
};

struct tally_hello_reply {
    uint64_t session;
    uint32_t device_count;
    int32_t driver_version; /* as cuDriverGetVersion reports it */
};

struct tally_device_info {
    char name[256];
    uint8_t uuid[16];
    uint64_t total_bytes;
    int32_t stream_priority_least;               /* numerically greatest */
    int32_t stream_priority_greatest;            /* numerically lowest */
    uint64_t limits[16];                         /* by CUlimit */
    char pci_bus_id[32];                         /* "0000:00:00.0" */
    int32_t attributes[TALLY_DEVICE_ATTRIBUTES]; /* by CUdevice_attribute */
};

struct tally_open {
    uint64_t session; /* from HELLO; must belong to the same peer process */
    uint32_t device;
    uint32_t reserved;
};

struct tally_open_reply {
    /* Names of sockets in the folder of the control socket, wherever the client found that: */
    char ops[256];     /* to PUSH ops to */
    char replies[256]; /* to PULL replies from */
    char segment[256]; /* SOCK_SEQPACKET: gives the session's segment, then pinned memory, see
                          tally_handover */
    uint64_t segment_bytes;
    uint32_t slot_count;
    uint32_t slot_bytes;
    uint64_t
        device_region_base; /* VA range in which device addresses of this session lie (0: any) */
    uint64_t device_region_bytes;
};

struct tally_unsupported {
    char symbol[96];
    uint64_t count; /* calls so far in this process */
};

/* ---- handover of memory ------------------------------------------------------------------------
 * One message for each piece of shared memory, with its file as a descriptor (SCM_RIGHTS): first
 * the segment, then one for each HOST_ALLOC, before its reply. The file's size is sealed. */

struct tally_handover {
    uint32_t magic;
    uint32_t version;
    uint64_t number; /* 0: the segment; else as in the reply to HOST_ALLOC */
    uint64_t bytes;
};

/* ---- shared segment --------------------------------------------------------------------------
 * One page, then slot_count slots of slot_bytes. The client owns the order of slots: it uses them
 * round robin, and takes slot i again only when done[i] equals the sequence number that it last
 * gave with that slot. The executor (or the GPU itself, through a stream write) stores done[i]. The
 * executor never reads back what it wrote here: a hostile client confuses only itself. */

struct tally_session_page {
    uint32_t magic;
    uint32_t version;
    uint32_t sticky_error; /* CUresult; once set, every later call of the context returns it */
    uint32_t closed;       /* 1: the executor has ended this session */
    uint64_t ops_handled;  /* ops taken off the socket so far */
    uint32_t reserved[10];
    uint32_t done[TALLY_SLOTS_MAX];
    char reason[TALLY_END_REASON_BYTES]; /* why it is closed; written before `closed` */
    uint8_t pad[4096 - 64 - 4 * TALLY_SLOTS_MAX - TALLY_END_REASON_BYTES];
};

/* ---- data plane ----------------------------------------------------------------------------- */

/* Handles are minted by the client: kind and a small index that is reused after destruction. */
enum tally_kind {
    TALLY_KIND_CONTEXT = 1,
    TALLY_KIND_STREAM = 2,
    TALLY_KIND_EVENT = 3,
    TALLY_KIND_MODULE = 4,   /* modules and libraries */
    TALLY_KIND_FUNCTION = 5, /* functions and kernels */
    TALLY_KIND_LIBRARY = 6,
    TALLY_KIND_KERNEL = 7,
    TALLY_KIND_ARRAY = 8,
};
#define TALLY_HANDLE_TAG 0x7a11ull
#define TALLY_HANDLE(kind, index)                                                                  \
    (((uint64_t)(kind) << 48) | (TALLY_HANDLE_TAG << 32) | (uint64_t)(uint32_t)(index))
#define TALLY_HANDLE_KIND(handle) ((uint32_t)((uint64_t)(handle) >> 48))
#define TALLY_HANDLE_INDEX(handle) ((uint32_t)(uint64_t)(handle))
#define TALLY_HANDLE_OK(handle, kind)                                                              \
    (((uint64_t)(handle) >> 32) == (((uint64_t)(kind) << 16) | TALLY_HANDLE_TAG))
#define TALLY_INDEX_MAX (1u << 20) /* per kind and session */
#define TALLY_STREAM_LEGACY 1ull   /* CU_STREAM_LEGACY; NULL streams are sent as this */

struct tally_op {
    uint16_t code;
    uint16_t flags;   /* 0 */
    uint32_t bytes;   /* whole message, this header included */
    uint64_t call_id; /* 0: one-way, errors surface in sticky_error or the next reply */
};

enum tally_reply_kind {
    TALLY_REPLY_RESULT = 0,
    TALLY_REPLY_STDOUT = 1, /* body: bytes of device printf, for the program's standard output */
    TALLY_REPLY_STDERR = 2, /* body: device assert text, for its standard error */
};

struct tally_reply {
    uint16_t code; /* of the op answered */
    uint16_t kind;
    uint32_t bytes;
    uint64_t call_id;
    int32_t result;      /* CUresult */
    int32_t async_error; /* CUresult of an earlier one-way op that failed without being sticky; told
                            once */
};

enum tally_place {
    TALLY_PLACE_DEVICE = 0, /* a device address */
    TALLY_PLACE_PINNED = 1, /* an address inside a HOST_ALLOC */
    TALLY_PLACE_SLOT = 2,   /* a byte offset into the segment's slot area */
    TALLY_PLACE_INLINE = 3, /* source only: the bytes follow this struct */
};

enum tally_image_source {
    TALLY_IMAGE_FILE = 1,
    TALLY_IMAGE_UPLOAD = 2,
    TALLY_IMAGE_INLINE = 3,
    TALLY_IMAGE_HASH = 4
};
enum { TALLY_RESULT_NEED_IMAGE = -1 }; /* answer to TALLY_IMAGE_HASH: not cached, send it */

struct tally_param {
    uint32_t offset, bytes;
};

enum { TALLY_LAUNCH_COOPERATIVE = 1 };

_Static_assert(sizeof(struct tally_control_header) == 16, "layout");
_Static_assert(sizeof(struct tally_op) == 16, "layout");
_Static_assert(sizeof(struct tally_reply) == 24, "layout");
_Static_assert(sizeof(struct tally_session_page) == 4096, "layout");

/* The ops themselves: their codes and messages, from interpose/ops.toml. */
#include "tally/generated/messages.h"

#endif
