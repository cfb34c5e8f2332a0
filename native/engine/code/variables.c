#include "engine/code/variables.h"

#include <stdlib.h>
#include <string.h>

#include "engine/session/session.h"

static size_t count_words(const char *at, const char *end)
{
    size_t words = 0;
    for (; at < end; at++)
        words += *at != ' ' && (at + 1 == end || at[1] == ' ');
    return words;
}

static CUresult find_one(struct session *session, CUmodule originals, const char *at, size_t bytes,
                         CUdeviceptr *address)
{
    size_t size = 0;
    char *name = strndup(at, bytes);
    if (!name)
        return CUDA_ERROR_OUT_OF_MEMORY;
    CUresult result = session->driver->cu.cuModuleGetGlobal_v2(address, &size, originals, name);
    free(name);
    return result;
}

CUresult variables_find(struct session *session, CUmodule originals, const char *text,
                        struct addresses *found)
{
    const size_t head = strlen(TALLY_VARIABLES_LINE);
    *found = (struct addresses){0};
    if (strncmp(text, TALLY_VARIABLES_LINE, head) != 0)
        return CUDA_SUCCESS;
    const char *at = text + head, *end = at + strcspn(at, "\n");
    size_t count = count_words(at, end);
    found->items = calloc(count ? count : 1, sizeof *found->items);
    CUresult result = found->items ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY;
    while (at < end && result == CUDA_SUCCESS) {
        size_t bytes = strcspn(at, " \n");
        if (bytes)
            result = find_one(session, originals, at, bytes, &found->items[found->count++]);
        at += bytes + 1;
    }
    return result;
}

CUresult variables_fill(struct session *session, CUmodule forms, const struct addresses *addresses)
{
    const struct tally_driver *cu = &session->driver->cu;
    CUdeviceptr table = 0;
    size_t bytes = 0, wanted = addresses->count * sizeof *addresses->items;
    if (wanted == 0)
        return CUDA_SUCCESS;
    CUresult result = cu->cuModuleGetGlobal_v2(&table, &bytes, forms, TALLY_VARIABLES);
    if (result == CUDA_SUCCESS && bytes != wanted)
        result = CUDA_ERROR_INVALID_IMAGE;
    if (result == CUDA_SUCCESS)
        result = cu->cuMemcpyHtoD_v2 ? cu->cuMemcpyHtoD_v2(table, addresses->items, wanted)
                                     : CUDA_ERROR_NOT_SUPPORTED;
    return result;
}
