/* libcuda.so: what `-lcuda` links and what programs that leave out the version dlopen. Wheels
 * cannot hold a symlink, and a copy of libcuda.so.1 would be a second driver in the process, with
 * contexts of its own. So each symbol here jumps to the libcuda.so.1 that lies beside this file,
 * loaded once by its inode. Its SONAME is libcuda.so.1 too: a program linked against this file
 * needs only that one at run time. */
#include <dlfcn.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "tally/generated/driver_table.h"

#define TARGET(symbol) __attribute__((visibility("hidden"))) void *tally_target_##symbol;
TALLY_DRIVER_EACH(TARGET)

#if defined(__x86_64__)
#define JUMP(symbol) "    endbr64\n    jmp *tally_target_" #symbol "(%rip)\n"
#elif defined(__aarch64__)
#define JUMP(symbol)                                                                               \
    "    bti c\n    adrp x16, tally_target_" #symbol "\n"                                          \
    "    ldr x16, [x16, :lo12:tally_target_" #symbol "]\n    br x16\n"
#else
#error "write a jump through a pointer for this processor"
#endif

#define FORWARD(symbol)                                                                            \
    __asm__(".pushsection .text\n    .globl " #symbol "\n    .type " #symbol                       \
            ", %function\n" #symbol ":\n" JUMP(symbol) "    .size " #symbol ", . - " #symbol       \
                                                       "\n    .popsection\n");
TALLY_DRIVER_EACH(FORWARD)

static CUresult not_loaded(void) { return CUDA_ERROR_SHARED_OBJECT_INIT_FAILED; }

static void *open_beside(void)
{
    Dl_info self;
    char path[PATH_MAX];
    if (dladdr((void *)open_beside, &self) == 0 || self.dli_fname == NULL)
        return NULL;
    const char *slash = strrchr(self.dli_fname, '/');
    int folder = slash != NULL ? (int)(slash - self.dli_fname) : 0;
    int length = snprintf(path, sizeof path, "%.*s/libcuda.so.1", folder, self.dli_fname);
    return length > 0 && (size_t)length < sizeof path ? dlopen(path, RTLD_NOW | RTLD_LOCAL) : NULL;
}

__attribute__((constructor)) static void find_targets(void)
{
    void *library = open_beside();
#define FIND(symbol)                                                                               \
    tally_target_##symbol = library != NULL ? dlsym(library, #symbol) : NULL;                      \
    if (tally_target_##symbol == NULL)                                                             \
        tally_target_##symbol = (void *)not_loaded;
    TALLY_DRIVER_EACH(FIND)
}
