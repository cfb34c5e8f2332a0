/* cuGetExportTable. Every slot of every table is a function: callers do not look before they call.
 */
#include "tables.h"
#include "tally/locks.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "context.h"
#include "generated/custom.h"
#include "stubs.h"

#define UUID_BYTES 16u
#define FUNCTION(name) (shim_slot_function)(uintptr_t)(name)

/* ---- slots ---------------------------------------------------------------------------------- */

static CUresult cudart_primary(CUcontext *context, CUdevice device)
{
    return shim_context_primary(device, context);
}

static CUresult cudart_load(CUmodule *module, const void *image)
{
    return shim_cuModuleLoadData(module, image);
}

static CUresult cudart_load_fatbin(const void *image, CUmodule *module)
{
    return shim_cuModuleLoadData(module, image);
}

static void cudart_size(size_t bytes) {}

static CUresult succeed(void) { return CUDA_SUCCESS; }

/* libcudart writes into these buffers; it wants more than 0x20a and 0xd entries of a size nobody
 * knows. */
static void hooks_large(void **buffer, size_t *count)
{
    static uint64_t storage[1024][8];
    *buffer = storage;
    *count = 1024;
}

static void hooks_small(void **buffer, size_t *count)
{
    static uint64_t storage[14][64];
    *buffer = storage;
    *count = 14;
}

static CUresult tls_current(CUcontext *context)
{
    *context = shim_context_current_handle();
    return CUDA_SUCCESS;
}

static CUresult storage_put(CUcontext context, void *key, void *value,
                            shim_storage_destructor *destructor)
{
    struct shim_context *owner;
    CUresult status = shim_context_of(context, &owner);
    return status != CUDA_SUCCESS ? status
                                  : shim_storage_put(&owner->storage, key, value, destructor);
}

static CUresult storage_delete(CUcontext context, void *key)
{
    struct shim_context *owner;
    CUresult status = shim_context_of(context, &owner);
    return status != CUDA_SUCCESS ? status : shim_storage_delete(&owner->storage, key);
}

static CUresult storage_get(void **value, CUcontext context, void *key)
{
    struct shim_context *owner;
    CUresult status = shim_context_of(context, &owner);
    return status != CUDA_SUCCESS ? status : shim_storage_get(&owner->storage, key, value);
}

static CUresult context_check(CUcontext context, uint32_t *result, void **unused)
{
    *result = 0;
    return CUDA_SUCCESS;
}

/* ---- tables --------------------------------------------------------------------------------- */

#define OWN_SLOTS_MAX 8u

static const struct known_table {
    uint8_t uuid[UUID_BYTES];
    uint32_t slots;
    bool bare; /* no size in slot 0, and a NULL at the end */
    struct shim_table_slot own[OWN_SLOTS_MAX];
} known[] = {
    {{0x6b, 0xd5, 0xfb, 0x6c, 0x5b, 0xf4, 0xe7, 0x4a, 0x89, 0x87, 0xd9, 0x39, 0x12, 0xfd, 0x9d,
      0xf9}, /* CUDART */
     13,
     false,
     {{1, FUNCTION(cudart_load)},
      {2, FUNCTION(cudart_primary)},
      {6, FUNCTION(cudart_load)},
      {7, FUNCTION(cudart_size)},
      {8, FUNCTION(cudart_load_fatbin)},
      {12, FUNCTION(succeed)}}},
    {{0xd4, 0x08, 0x20, 0x55, 0xbd, 0xe6, 0x70, 0x4b, 0x8d, 0x34, 0xba, 0x12, 0x3c, 0x66, 0xe1,
      0xf2}, /* INTEGRITY */
     3,
     false,
     {{1, FUNCTION(shim_integrity_check)}, {2, FUNCTION(succeed)}}},
    {{0xc6, 0x93, 0x33, 0x6e, 0x11, 0x21, 0xdf, 0x11, 0xa8, 0xc3, 0x68, 0xf3, 0x55, 0xd8, 0x95,
      0x93}, /* CLS */
     3,
     true,
     {{0, FUNCTION(storage_put)}, {1, FUNCTION(storage_delete)}, {2, FUNCTION(storage_get)}}},
    {{0xa0, 0x94, 0x79, 0x8c, 0x2e, 0x74, 0x2e, 0x74, 0x93, 0xf2, 0x08, 0x00, 0x20, 0x0c, 0x0a,
      0x66}, /* HOOKS */
     7,
     false,
     {{2, FUNCTION(hooks_large)}, {6, FUNCTION(hooks_small)}}},
    {{0x42, 0xd8, 0x5a, 0x81, 0x23, 0xf6, 0xcb, 0x47, 0x82, 0x98, 0xf6, 0xe7, 0x8a, 0x3a, 0xec,
      0xdc}, /* TOOLS_TLS */
     4,
     false,
     {{2, FUNCTION(tls_current)}}},
    {{0x26, 0x3e, 0x88, 0x60, 0x7c, 0xd2, 0x61, 0x43, 0x92, 0xf6, 0xbb, 0xd5, 0x00, 0x6d, 0xfa,
      0x7e}, /* CTXCHECK */
     15,
     false,
     {{2, FUNCTION(context_check)}, {3, FUNCTION(succeed)}}},
    {{0x21, 0x31, 0x8c, 0x60, 0x97, 0x14, 0x32, 0x48, 0x8c, 0xa6, 0x41, 0xff, 0x73, 0x24, 0xc8,
      0xf2}, /* ToolsContext */
     95,
     false,
     {{4, FUNCTION(shim_tools_context_id)},
      {39, FUNCTION(shim_tools_stream_id)},
      {51, FUNCTION(shim_tools_stream_object)}}},
    {{0x6e, 0x16, 0x3f, 0xbe, 0xb9, 0x58, 0x44, 0x4d, 0x83, 0x5c, 0xe1, 0x82, 0xaf, 0xf1, 0x99,
      0x1e}, /* ToolsModule */
     8,
     false,
     {{7, FUNCTION(shim_tools_each_function)}}},
    {{0x17, 0x34, 0xdc, 0x26, 0x80, 0x0d, 0x47, 0x45, 0x87, 0x26, 0xc0, 0xf1, 0xe7, 0xdd, 0x8b,
      0xca}, /* cuBLASLt's */
     8,
     false,
     {{0}}},
};
#define KNOWN (sizeof known / sizeof known[0])
_Static_assert(KNOWN < SHIM_STUB_TABLES, "room for tables that are not known yet");

/* Refused outright. Slots that answer upset libnvrtc 13, and the profiler's tables would promise
 * what is not there; all their callers take NOT_FOUND for an answer. Compared over `bytes`. */
static const struct {
    uint8_t uuid[UUID_BYTES];
    size_t bytes;
} refused[] = {
    {{0xda, 0x91, 0x51, 0xd3, 0x3a, 0xe6, 0xcc, 0x41, 0xa5, 0xc0, 0x4f, 0x26, 0xd5, 0x33, 0xe3,
      0x28},
     UUID_BYTES},
    {{0xf8, 0xcf, 0xf9, 0x51, 0x21, 0x46, 0x8b, 0x4e, 0xb9, 0xe2, 0xfb, 0x46, 0x9e, 0x7c, 0x0d,
      0xd9},
     UUID_BYTES},
    {{0x7c, 0xb6, 0x3f, 0x9b}, 4}, /* CUPTI */
    {{0xd7, 0xbd, 0x8a, 0xf8}, 4}, /* CUPTI */
};

/* What is handed out: the known tables first, then one for each unknown UUID in the order of
 * asking. A table that was handed out does not change. */
static struct tally_mutex tables_lock = TALLY_MUTEX_INIT;
static struct {
    uint8_t uuid[UUID_BYTES];
    shim_slot_function slots[SHIM_STUB_SLOTS + 1];
} tables[SHIM_STUB_TABLES];
static uint32_t table_count GUARDED_BY(tables_lock);

static void add_table_locked(const uint8_t *uuid, uint32_t slots, bool bare,
                             const struct shim_table_slot *own) REQUIRES(tables_lock)
{
    uint32_t index = table_count++;
    memcpy(tables[index].uuid, uuid, UUID_BYTES);
    for (uint32_t slot = 0; slot < slots; slot++)
        tables[index].slots[slot] = (shim_slot_function)shim_stubs[index][slot];
    if (!bare)
        tables[index].slots[0] = (shim_slot_function)(uintptr_t)(slots * sizeof(void *));
    for (uint32_t i = 0; own != NULL && i < OWN_SLOTS_MAX && own[i].function != NULL; i++)
        tables[index].slots[own[i].index] = own[i].function;
}

CUresult shim_stub_called(unsigned int table, unsigned int slot)
{
    static uint64_t calls[SHIM_STUB_TABLES][SHIM_STUB_SLOTS];
    char name[64];
    const uint8_t *u = tables[table].uuid;
    snprintf(name, sizeof name, "table %02x%02x%02x%02x-%02x%02x-%02x%02x slot %u", u[0], u[1],
             u[2], u[3], u[4], u[5], u[6], u[7], slot);
    return shim_unsupported(name, &calls[table][slot]);
}

static const void *find_table_locked(const uint8_t *uuid) REQUIRES(tables_lock)
{
    for (uint32_t i = 0; i < table_count; i++) {
        if (memcmp(tables[i].uuid, uuid, UUID_BYTES) == 0)
            return tables[i].slots;
    }
    return NULL;
}

static bool is_refused(const uint8_t *uuid)
{
    for (size_t i = 0; i < sizeof refused / sizeof refused[0]; i++) {
        if (memcmp(refused[i].uuid, uuid, refused[i].bytes) == 0)
            return true;
    }
    return false;
}

CUresult shim_cuGetExportTable(const void **ppExportTable, const CUuuid *pExportTableId)
{
    if (ppExportTable == NULL || pExportTableId == NULL)
        return CUDA_ERROR_INVALID_VALUE;
    const uint8_t *uuid = (const uint8_t *)pExportTableId->bytes;
    *ppExportTable = NULL;
    if (is_refused(uuid))
        return CUDA_ERROR_NOT_FOUND;
    tally_mutex_take(&tables_lock);
    if (table_count == 0) {
        for (uint32_t i = 0; i < KNOWN; i++)
            add_table_locked(known[i].uuid, known[i].slots, known[i].bare, known[i].own);
        shim_integrity_tables(tables[0].slots, tables[1].slots);
    }
    const void *table = find_table_locked(uuid);
    if (table == NULL && table_count < SHIM_STUB_TABLES) {
        add_table_locked(uuid, SHIM_STUB_SLOTS, false, NULL);
        table = find_table_locked(uuid);
    }
    tally_mutex_give(&tables_lock);
    *ppExportTable = table;
    return table != NULL ? CUDA_SUCCESS : CUDA_ERROR_NOT_FOUND;
}
