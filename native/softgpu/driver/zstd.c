/* zstd, nvcc's default for PTX: by the system's library, else by whoever offered to do it. */
#include <dlfcn.h>

#include "image.h"

typedef size_t (*zstd_decompress_fn)(void *dst, size_t dst_bytes, const void *src,
                                     size_t src_bytes);

static zstd_decompress_fn library;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void find_library(void)
{
    void *handle = dlopen("libzstd.so.1", RTLD_NOW | RTLD_LOCAL);
    if (handle)
        library = (zstd_decompress_fn)dlsym(handle, "ZSTD_decompress");
}

bool soft_zstd_known(void)
{
    pthread_once(&once, find_library);
    return library || soft.decompress;
}

bool soft_zstd(const uint8_t *src, size_t src_bytes, uint8_t *dst, size_t dst_bytes)
{
    pthread_once(&once, find_library);
    if (library)
        return library(dst, dst_bytes, src, src_bytes) == dst_bytes; /* errors are huge numbers */
    soft_lock();
    softgpu_decompress_fn decompress = soft.decompress;
    void *user = soft.decompress_user;
    soft_unlock();
    return decompress && decompress(user, src, src_bytes, dst, dst_bytes) == 0;
}
