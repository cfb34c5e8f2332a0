/* cuLink*: the driver's linker. What is given to it is collected here; the driver, or softgpu's
 * linker, links it when the result is loaded, and only then tells of symbols that nobody or two
 * define. */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "context.h"
#include "generated/custom.h"
#include "jit_options.h"
#include "link_inputs.h"
#include "tally/locks.h"

/* The first handle, so that small numbers are none. Handles are not used again. */
#define FIRST_HANDLE 0x4b4e000000000001u

struct link {
    struct link *next;
    uint64_t handle;
    uint32_t architecture; /* of the device that was current */
    /* Its `options` are a copy; `values` are the program's, which keeps them for us. */
    struct shim_jit jit;
    struct shim_link_inputs inputs;
    void *image; /* once complete */
    size_t image_bytes;
    bool image_owned;
};

/* A link itself is its callers' to guard. */
static struct tally_mutex lock = TALLY_MUTEX_INIT;
static struct link *links GUARDED_BY(lock);
static uint64_t next_handle GUARDED_BY(lock) = FIRST_HANDLE;

static void forget(void)
{
    tally_mutex_init(&lock);
    links = NULL;
}

__attribute__((constructor)) static void register_hooks(void) { shim_on_fork(forget); }

static void link_free(struct link *link)
{
    if (link->image_owned)
        free(link->image);
    shim_link_drop(&link->inputs);
    free((void *)link->jit.options);
    free(link);
}

/* The link of this handle, which leaves the list if `take`. */
static struct link *find(CUlinkState state, bool take)
{
    tally_mutex_take(&lock);
    struct link **at = &links;
    while (*at && (*at)->handle != (uintptr_t)state)
        at = &(*at)->next;
    struct link *link = *at;
    if (link && take)
        *at = link->next;
    tally_mutex_give(&lock);
    return link;
}

/* ---- making --------------------------------------------------------------------------------- */

static CUresult current_architecture(uint32_t *architecture)
{
    uint32_t device;
    const struct tally_device_info *info;
    CUresult result = shim_current_device(&device);
    if (!result)
        result = shim_device_of((CUdevice)device, &info);
    if (result)
        return result;
    *architecture = (uint32_t)(info->attributes[CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR] * 10 +
                               info->attributes[CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR]);
    return CUDA_SUCCESS;
}

static struct link *link_new(const struct shim_jit *jit)
{
    struct link *link = calloc(1, sizeof *link);
    CUjit_option *options = malloc((jit->count + 1) * sizeof *options);
    if (!link || !options) {
        free(link);
        free(options);
        return NULL;
    }
    if (jit->count)
        memcpy(options, jit->options, jit->count * sizeof *options);
    link->jit = *jit;
    link->jit.options = options;
    return link;
}

CUresult shim_cuLinkCreate_v2(unsigned int numOptions, CUjit_option *options, void **optionValues,
                              CUlinkState *stateOut)
{
    uint32_t architecture;
    struct shim_jit jit = {.count = numOptions, .options = options, .values = optionValues};
    CUresult result = stateOut ? current_architecture(&architecture) : CUDA_ERROR_INVALID_VALUE;
    if (!result)
        result = shim_jit_read(&jit);
    if (result)
        return result;
    struct link *link = link_new(&jit);
    if (!link)
        return CUDA_ERROR_OUT_OF_MEMORY;
    link->architecture = architecture;
    tally_mutex_take(&lock);
    link->handle = next_handle++;
    link->next = links;
    links = link;
    tally_mutex_give(&lock);
    *stateOut = (CUlinkState)(uintptr_t)link->handle;
    return CUDA_SUCCESS;
}

CUresult shim_cuLinkDestroy(CUlinkState state)
{
    struct link *link = find(state, true);
    if (!link)
        return CUDA_ERROR_INVALID_HANDLE;
    link_free(link);
    return CUDA_SUCCESS;
}

/* ---- inputs --------------------------------------------------------------------------------- */

/* The options of one input: nothing of them matters here, but they must be ones. */
static CUresult check_options(unsigned int count, const CUjit_option *options, void **values)
{
    if (count && (!options || !values))
        return CUDA_ERROR_INVALID_VALUE;
    for (unsigned i = 0; i < count; i++)
        if (options[i] >= CU_JIT_NUM_OPTIONS)
            return CUDA_ERROR_INVALID_VALUE;
    return CUDA_SUCCESS;
}

/* Before the input is looked at. */
static CUresult check_type(CUjitInputType type)
{
    static uint64_t calls;
    if (type == CU_JIT_INPUT_NVVM)
        return shim_unsupported("cuLinkAddData(CU_JIT_INPUT_NVVM)", &calls);
    return type < CU_JIT_NUM_INPUT_TYPES ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

static CUresult add(struct link *link, CUjitInputType type, const void *data, size_t size,
                    const char *name)
{
    const char *why = "";
    if (link->image)
        return CUDA_ERROR_INVALID_VALUE;
    CUresult result = shim_link_take(&link->inputs, type, data, size, link->architecture, &why);
    if (result) {
        shim_jit_tell(&link->jit, "%s: %s\n", name && *name ? name : "an input without a name",
                      why);
        shim_jit_write(&link->jit);
    }
    return result;
}

CUresult shim_cuLinkAddData_v2(CUlinkState state, CUjitInputType type, void *data, size_t size,
                               const char *name, unsigned int numOptions, CUjit_option *options,
                               void **optionValues)
{
    struct link *link = find(state, false);
    if (!link)
        return CUDA_ERROR_INVALID_HANDLE;
    CUresult result = check_options(numOptions, options, optionValues);
    if (!result)
        result = check_type(type);
    if (!result && (!data || !size))
        result = CUDA_ERROR_INVALID_VALUE;
    return result ? result : add(link, type, data, size, name);
}

static CUresult add_open_file(struct link *link, CUjitInputType type, int fd, const char *name)
{
    struct stat status;
    if (fstat(fd, &status) != 0 || !S_ISREG(status.st_mode) || status.st_size <= 0)
        return CUDA_ERROR_INVALID_IMAGE;
    size_t bytes = (size_t)status.st_size;
    void *data = mmap(NULL, bytes, PROT_READ, MAP_PRIVATE, fd, 0);
    if (data == MAP_FAILED)
        return CUDA_ERROR_OUT_OF_MEMORY;
    CUresult result = add(link, type, data, bytes, name);
    munmap(data, bytes);
    return result;
}

CUresult shim_cuLinkAddFile_v2(CUlinkState state, CUjitInputType type, const char *path,
                               unsigned int numOptions, CUjit_option *options, void **optionValues)
{
    struct link *link = find(state, false);
    if (!link)
        return CUDA_ERROR_INVALID_HANDLE;
    CUresult result =
        path ? check_options(numOptions, options, optionValues) : CUDA_ERROR_INVALID_VALUE;
    if (!result)
        result = check_type(type);
    if (result)
        return result;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    if (fd < 0)
        return CUDA_ERROR_FILE_NOT_FOUND;
    result = add_open_file(link, type, fd, path);
    close(fd);
    return result;
}

/* ---- the result ----------------------------------------------------------------------------- */

CUresult shim_cuLinkComplete(CUlinkState state, void **cubinOut, size_t *sizeOut)
{
    struct link *link = find(state, false);
    if (!link)
        return CUDA_ERROR_INVALID_HANDLE;
    if (!cubinOut)
        return CUDA_ERROR_INVALID_VALUE;
    CUresult result = CUDA_SUCCESS;
    if (!link->image)
        result =
            shim_link_image(&link->inputs, &link->image, &link->image_bytes, &link->image_owned);
    shim_jit_write(&link->jit);
    if (result)
        return result;
    *cubinOut = link->image;
    if (sizeOut)
        *sizeOut = link->image_bytes;
    return CUDA_SUCCESS;
}
