#include "engine/launch/kernels.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "engine/code/function.h"
#include "engine/engine.h"
#include "engine/launch/launch.h"
#include "engine/launch/residency.h"
#include "engine/stats.h"

#define KERNELS_MAX 65536u /* as many as there can be plans */
#define SLOTS (KERNELS_MAX * 2)
#define NAME_BYTES_MAX (32ull << 20) /* of all names together; what comes later has none */

struct entry {
    uint64_t signature, code;
    char *name; /* NULL: no room for it */
    uint32_t grid[3], block[3];
    uint32_t dynamic_shared_bytes, blocks_per_sm, abilities;
    bool used;
};

struct kernels {
    pthread_mutex_t lock;
    struct entry *entries; /* open addressing, at most half full */
    uint32_t count;
    uint64_t name_bytes;
};

struct kernels *kernels_create(void)
{
    struct kernels *kernels = calloc(1, sizeof *kernels);
    if (!kernels)
        return NULL;
    kernels->entries = calloc(SLOTS, sizeof *kernels->entries);
    pthread_mutex_init(&kernels->lock, NULL);
    if (kernels->entries)
        return kernels;
    kernels_destroy(kernels);
    return NULL;
}

void kernels_destroy(struct kernels *kernels)
{
    for (uint32_t i = 0; kernels->entries && i < SLOTS; i++)
        free(kernels->entries[i].name);
    free(kernels->entries);
    pthread_mutex_destroy(&kernels->lock);
    free(kernels);
}

/* Under the lock: the signature's entry, or the free one where it belongs. */
static struct entry *find(struct kernels *kernels, uint64_t signature)
{
    uint32_t at = (uint32_t)((signature * 0x9e3779b97f4a7c15ull) >> 32) % SLOTS;
    while (kernels->entries[at].used && kernels->entries[at].signature != signature)
        at = (at + 1) % SLOTS;
    return &kernels->entries[at];
}

/* Under the lock. */
static void add(struct kernels *kernels, struct entry *entry, const struct launch *launch,
                uint32_t per_sm)
{
    const char *name = launch->function->name;
    size_t bytes = name ? strlen(name) + 1 : 0;
    *entry = (struct entry){
        .used = true,
        .signature = launch->signature,
        .code = launch->function->code,
        .grid = {launch->grid[0], launch->grid[1], launch->grid[2]},
        .block = {launch->block[0], launch->block[1], launch->block[2]},
        .dynamic_shared_bytes = launch->dynamic_shared_bytes,
        .blocks_per_sm = per_sm,
        .abilities = launch->abilities,
    };
    kernels->count++;
    if (bytes && bytes <= NAME_BYTES_MAX - kernels->name_bytes && (entry->name = strdup(name)))
        kernels->name_bytes += bytes;
}

void kernels_note(struct kernels *kernels, const struct launch *launch)
{
    struct function *function = launch->function;
    if (function->noted == launch->signature)
        return; /* the usual case: a kernel is launched in one shape again and again */
    function->noted = launch->signature;
    pthread_mutex_lock(&kernels->lock);
    struct entry *known = find(kernels, launch->signature);
    known->abilities |= known->used ? launch->abilities : 0; /* rewritten forms may come later */
    bool wanted = !known->used && kernels->count < KERNELS_MAX;
    pthread_mutex_unlock(&kernels->lock);
    if (!wanted)
        return;
    uint32_t per_sm = residency_per_multiprocessor(launch);
    pthread_mutex_lock(&kernels->lock);
    struct entry *entry = find(kernels, launch->signature);
    if (!entry->used && kernels->count < KERNELS_MAX)
        add(kernels, entry, launch, per_sm);
    pthread_mutex_unlock(&kernels->lock);
}

bool kernels_find(struct kernels *kernels, uint64_t signature, struct tally_kernel *kernel)
{
    pthread_mutex_lock(&kernels->lock);
    const struct entry *entry = find(kernels, signature);
    bool known = entry->used;
    *kernel = (struct tally_kernel){.signature = signature};
    if (known) {
        kernel->code = entry->code;
        memcpy(kernel->grid, entry->grid, sizeof kernel->grid);
        memcpy(kernel->block, entry->block, sizeof kernel->block);
        kernel->dynamic_shared_bytes = entry->dynamic_shared_bytes;
        kernel->blocks_per_sm = entry->blocks_per_sm;
        kernel->abilities = entry->abilities;
        if (entry->name)
            strncpy(kernel->name, entry->name, sizeof kernel->name - 1);
    }
    pthread_mutex_unlock(&kernels->lock);
    return known;
}
