#include "engine/code/image.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/fsuid.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/session/session.h"
#include "wire/sha256.h"

/* What nobody uses is kept up to here, so that the next process of a job need not bring it
 * again. */
#define CACHE_BYTES_MAX (256ull << 20)

struct image_cache {
    pthread_mutex_t lock;
    /* Not held while an image is rewritten: others need not wait for it. */
    pthread_mutex_t rewrite_lock;
    pthread_cond_t rewrite_done;
    struct image *images;
    uint64_t bytes;
};

struct image_cache *image_cache_create(void)
{
    struct image_cache *cache = calloc(1, sizeof *cache);
    if (cache) {
        pthread_mutex_init(&cache->lock, NULL);
        pthread_mutex_init(&cache->rewrite_lock, NULL);
        pthread_cond_init(&cache->rewrite_done, NULL);
    }
    return cache;
}

static void image_free(struct image *image)
{
    free(image->rewritten);
    free(image->text);
    free(image->bytes);
    free(image);
}

void image_cache_destroy(struct image_cache *cache)
{
    while (cache->images) {
        struct image *image = cache->images;
        cache->images = image->next;
        image_free(image);
    }
    pthread_cond_destroy(&cache->rewrite_done);
    pthread_mutex_destroy(&cache->rewrite_lock);
    pthread_mutex_destroy(&cache->lock);
    free(cache);
}

/* Under the lock, by hash or, without one, by file. Takes the image to the front and adds a
 * reference. */
static struct image *find(struct image_cache *cache, const uint8_t *hash, const uint64_t *file)
{
    const void *key = hash ? (const void *)hash : file;
    size_t at_key = hash ? offsetof(struct image, hash) : offsetof(struct image, file);
    size_t bytes = hash ? sizeof((struct image *)0)->hash : sizeof((struct image *)0)->file;
    for (struct image **at = &cache->images; *at; at = &(*at)->next) {
        struct image *image = *at;
        if (memcmp((const char *)image + at_key, key, bytes) != 0)
            continue;
        *at = image->next;
        image->next = cache->images;
        cache->images = image;
        image->refs++;
        return image;
    }
    return NULL;
}

struct image *image_by_hash(struct image_cache *cache, const uint8_t hash[32])
{
    pthread_mutex_lock(&cache->lock);
    struct image *image = find(cache, hash, NULL);
    pthread_mutex_unlock(&cache->lock);
    return image;
}

/* Under the lock: drops what was not used for longest. */
static void trim(struct image_cache *cache)
{
    while (cache->bytes > CACHE_BYTES_MAX) {
        struct image **last = NULL;
        for (struct image **at = &cache->images; *at; at = &(*at)->next)
            if ((*at)->refs == 0)
                last = at;
        if (!last)
            return;
        struct image *image = *last;
        *last = image->next;
        cache->bytes -= image->count + image->made_bytes;
        image_free(image);
    }
}

static struct image *add(struct image_cache *cache, uint8_t *bytes, size_t count,
                         const uint64_t *file)
{
    uint8_t hash[32];
    tally_sha256(bytes, count, hash);
    struct image *fresh = calloc(1, sizeof *fresh);
    if (!fresh) {
        free(bytes);
        return NULL;
    }
    pthread_mutex_lock(&cache->lock);
    struct image *image = find(cache, hash, NULL);
    if (!image) {
        *fresh = (struct image){.next = cache->images, .bytes = bytes, .count = count, .refs = 1};
        memcpy(fresh->hash, hash, sizeof hash);
        cache->images = fresh;
        cache->bytes += count;
        image = fresh;
    } else {
        free(fresh);
        free(bytes);
    }
    if (file)
        memcpy(image->file, file, sizeof image->file);
    trim(cache);
    pthread_mutex_unlock(&cache->lock);
    return image;
}

struct image *image_of(struct image_cache *cache, uint8_t *bytes, size_t count)
{
    return add(cache, bytes, count, NULL);
}

/* What was made of an image counts with it. */
static void count_made(struct image_cache *cache, struct image *image, uint64_t bytes)
{
    pthread_mutex_lock(&cache->lock);
    image->made_bytes += bytes;
    cache->bytes += bytes;
    trim(cache);
    pthread_mutex_unlock(&cache->lock);
}

const char *image_rewritten(struct image_cache *cache, struct image *image,
                            tally_rewrite_fn rewrite)
{
    pthread_mutex_lock(&cache->rewrite_lock);
    while (image->rewrite == BEING_REWRITTEN)
        pthread_cond_wait(&cache->rewrite_done, &cache->rewrite_lock);
    if (image->rewrite == NOT_REWRITTEN) {
        image->rewrite = BEING_REWRITTEN;
        pthread_mutex_unlock(&cache->rewrite_lock);
        size_t text_bytes = 0;
        char *text = rewrite(image->bytes, image->count, &text_bytes);
        count_made(cache, image, text ? text_bytes : 0);
        pthread_mutex_lock(&cache->rewrite_lock);
        image->rewritten = text;
        image->rewrite = REWRITTEN;
        pthread_cond_broadcast(&cache->rewrite_done);
    }
    const char *rewritten = image->rewritten;
    pthread_mutex_unlock(&cache->rewrite_lock);
    return rewritten;
}

bool image_forms_beside(struct image_cache *cache, struct image *image,
                        tally_rewrite_beside_fn beside, const void **load)
{
    pthread_mutex_lock(&cache->rewrite_lock);
    bool known = image->place != NOT_LOOKED_AT;
    pthread_mutex_unlock(&cache->rewrite_lock);
    char *text = NULL;
    bool answer = !known && beside(image->bytes, image->count, &text) != 0;
    uint64_t made = 0;
    pthread_mutex_lock(&cache->rewrite_lock);
    if (image->place == NOT_LOOKED_AT) {
        image->place = answer ? BESIDE : WITHIN;
        image->text = text;
        made = text ? strlen(text) : 0;
        text = NULL;
    }
    bool result = image->place == BESIDE;
    *load = image->text ? (const void *)image->text : image->bytes;
    pthread_mutex_unlock(&cache->rewrite_lock);
    free(text); /* somebody else was quicker */
    if (made)
        count_made(cache, image, made);
    return result;
}

void image_retain(struct image_cache *cache, struct image *image)
{
    pthread_mutex_lock(&cache->lock);
    image->refs++;
    pthread_mutex_unlock(&cache->lock);
}

void image_release(struct image_cache *cache, struct image *image)
{
    pthread_mutex_lock(&cache->lock);
    image->refs--;
    trim(cache);
    pthread_mutex_unlock(&cache->lock);
}

/* Opens with the peer's identity where the executor has more rights than the peer: then the kernel
 * decides, folders on the way included. setfsuid concerns the calling thread only. */
static int open_as_peer(const struct session *session, const char *path)
{
    const struct tally_session_config *config = &session->config;
    const int flags =
        O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK; /* nonblocking: it may be a fifo */
    if (config->uid == geteuid())
        return open(path, flags);
    setfsgid(config->gid);
    setfsuid(config->uid);
    int fd = open(path, flags);
    int error = errno;
    setfsuid(geteuid());
    setfsgid(getegid());
    errno = error;
    return fd;
}

/* The executor's supplementary groups still counted when the file was opened; the file's mode is
 * held against the peer's own identity once more. */
static bool peer_may_read(const struct session *session, const struct stat *status)
{
    const struct tally_session_config *config = &session->config;
    if (config->uid == geteuid() || config->uid == 0)
        return true;
    if (status->st_uid == config->uid)
        return status->st_mode & S_IRUSR;
    if (status->st_gid == config->gid)
        return status->st_mode & S_IRGRP;
    return status->st_mode & S_IROTH;
}

/* Read, not mapped: whoever may write the file could cut it short under the driver's eyes. */
static CUresult read_range(int fd, uint64_t offset, uint64_t count, uint8_t **out)
{
    uint8_t *bytes = malloc(count + 1);
    if (!bytes)
        return CUDA_ERROR_OUT_OF_MEMORY;
    bytes[count] = 0;
    for (uint64_t at = 0; at < count;) {
        ssize_t got = pread(fd, bytes + at, count - at, (off_t)(offset + at));
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0) {
            free(bytes);
            return CUDA_ERROR_INVALID_IMAGE;
        }
        at += (uint64_t)got;
    }
    *out = bytes;
    return CUDA_SUCCESS;
}

static uint64_t nanoseconds(struct timespec time)
{
    return (uint64_t)time.tv_sec * 1000000000ull + (uint64_t)time.tv_nsec;
}

static CUresult load(struct session *session, int fd, uint64_t offset, uint64_t count,
                     struct image **out)
{
    struct image_cache *cache = session->engine->images;
    struct stat status;
    if (fstat(fd, &status) != 0 || !S_ISREG(status.st_mode) || !peer_may_read(session, &status))
        return CUDA_ERROR_FILE_NOT_FOUND;
    uint64_t size = (uint64_t)status.st_size;
    if (offset > size || count > size - offset)
        return CUDA_ERROR_INVALID_IMAGE;
    const uint64_t file[7] = {
        status.st_dev,
        status.st_ino,
        nanoseconds(status.st_mtim),
        nanoseconds(status.st_ctim),
        offset,
        count,
        1,
    };
    pthread_mutex_lock(&cache->lock);
    *out = find(cache, NULL, file);
    pthread_mutex_unlock(&cache->lock);
    if (*out)
        return CUDA_SUCCESS;
    uint8_t *bytes = NULL;
    CUresult result = read_range(fd, offset, count, &bytes);
    if (result == CUDA_SUCCESS && !(*out = add(cache, bytes, count, file)))
        result = CUDA_ERROR_OUT_OF_MEMORY;
    return result;
}

/* In the client's mount namespace the path may be another file's. It says which one it meant; or
 * not, with 0. */
static bool is_meant(int fd, const uint8_t identity[16])
{
    uint64_t meant[2];
    struct stat status;
    memcpy(meant, identity, sizeof meant);
    if (!meant[0] && !meant[1])
        return true;
    return fstat(fd, &status) == 0 && status.st_dev == meant[0] && status.st_ino == meant[1];
}

CUresult image_of_file(struct session *session, const char *path, const uint8_t identity[16],
                       uint64_t offset, uint64_t count, struct image **out)
{
    if (path[0] != '/')
        return CUDA_ERROR_FILE_NOT_FOUND;
    int fd = open_as_peer(session, path);
    if (fd < 0)
        return errno == ENOMEM ? CUDA_ERROR_OUT_OF_MEMORY : CUDA_ERROR_FILE_NOT_FOUND;
    bool meant = is_meant(fd, identity);
    CUresult result = meant ? load(session, fd, offset, count, out) : CUDA_ERROR_FILE_NOT_FOUND;
    close(fd);
    return result;
}
