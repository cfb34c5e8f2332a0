/* Module images, checked and cached across sessions: by content, and by where in which file they
 * lie. */
#ifndef TALLY_ENGINE_IMAGE_H
#define TALLY_ENGINE_IMAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/engine.h"
#include "tally/cuda.h"

struct session;

/* Immutable once made, but for the rewritten form. `bytes` is followed by a NUL, which PTX
 * needs. */
struct image {
    struct image *next; /* of the cache, newest use first */
    uint8_t *bytes;
    size_t count;
    uint8_t hash[32];
    uint64_t file[7]; /* dev, inode, mtime, ctime (ns), offset, bytes; all 0: from no file */
    uint32_t refs;
    char *rewritten; /* see image_rewritten */
    /* Of both texts, which count as the image does; under the lock of `next`. */
    uint64_t made_bytes;
    enum { NOT_REWRITTEN, BEING_REWRITTEN, REWRITTEN } rewrite; /* the cache's rewrite lock */
    enum { NOT_LOOKED_AT, BESIDE, WITHIN } place; /* of the rewritten kernels; the same lock */
    char *text;                                   /* see image_forms_beside */
};

struct image_cache;

struct image_cache *image_cache_create(void);
void image_cache_destroy(struct image_cache *cache);

/* All hand out a reference that must be released. NULL where there is none. */
struct image *image_by_hash(struct image_cache *cache, const uint8_t hash[32]);
/* Takes `bytes` (count + 1 bytes, malloc) over, also on failure. */
struct image *image_of(struct image_cache *cache, uint8_t *bytes, size_t count);
/* A range of a regular file that the session's peer may read. CUDA_ERROR_FILE_NOT_FOUND, ... */
CUresult image_of_file(struct session *session, const char *path, const uint8_t identity[16],
                       uint64_t offset, uint64_t count, struct image **out);
/* One more reference to an image that the caller has one of. */
void image_retain(struct image_cache *cache, struct image *image);
/* What `rewrite` makes of the image, or NULL. Made once, when first asked for; who asks meanwhile
 * waits. Lives as long as the image. */
const char *image_rewritten(struct image_cache *cache, struct image *image,
                            tally_rewrite_fn rewrite);
/* What `beside` says of the image; asked once. *load: what to load if so, lives as long as the
 * image. */
bool image_forms_beside(struct image_cache *cache, struct image *image,
                        tally_rewrite_beside_fn beside, const void **load);
void image_release(struct image_cache *cache, struct image *image);

#endif
