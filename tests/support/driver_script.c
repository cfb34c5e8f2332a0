/* A driver that plays what a test tells it, over softgpu: slow calls, calls that block, failures, a lost context. And
 * it sees whether the engine holds a lock of its own over a call.
 *
 * A script is a folder, TALLY_DRIVER_SCRIPT. A file there, named after a function, says what its next calls do:
 *   "fail N"    return N; a sticky one, with a file `lost` of that number, is the answer to everything
 *   "block"     do not return while the file is there
 *   "slow US"   take so many microseconds longer
 * A call that blocks makes a file FUNCTION.reached. Calls that were made with a lock held, if this library is
 * preloaded, are lines of the file `locked`: the function, and where in which object the lock was taken.
 *
 * What is not named here is softgpu's own: the library depends on it. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LOCKS_MAX 16
#define POLL_US 500

static __thread struct {
    pthread_mutex_t *mutex;
    void *caller;
} held[LOCKS_MAX];
static __thread int held_count;
static __thread int answer;

/* ---- locks -------------------------------------------------------------------------------------- */

static void *next(const char *symbol) { return dlsym(RTLD_NEXT, symbol); }

static void note_lock(pthread_mutex_t *mutex, void *caller)
{
    if (held_count < LOCKS_MAX) {
        held[held_count].mutex = mutex;
        held[held_count].caller = caller;
    }
    held_count++;
}

int pthread_mutex_lock(pthread_mutex_t *mutex)
{
    static int (*real)(pthread_mutex_t *);
    if (!real)
        *(void **)&real = next("pthread_mutex_lock");
    int result = real(mutex);
    if (result == 0)
        note_lock(mutex, __builtin_return_address(0));
    return result;
}

int pthread_mutex_trylock(pthread_mutex_t *mutex)
{
    static int (*real)(pthread_mutex_t *);
    if (!real)
        *(void **)&real = next("pthread_mutex_trylock");
    int result = real(mutex);
    if (result == 0)
        note_lock(mutex, __builtin_return_address(0));
    return result;
}

int pthread_mutex_unlock(pthread_mutex_t *mutex)
{
    static int (*real)(pthread_mutex_t *);
    if (!real)
        *(void **)&real = next("pthread_mutex_unlock");
    int i = held_count < LOCKS_MAX ? held_count - 1 : LOCKS_MAX - 1;
    while (i >= 0 && held[i].mutex != mutex)
        i--;
    if (i >= 0 || held_count > LOCKS_MAX)
        held_count--;
    for (; i >= 0 && i < held_count && i + 1 < LOCKS_MAX; i++)
        held[i] = held[i + 1];
    return real(mutex);
}

/* ---- the script --------------------------------------------------------------------------------- */

static const char *folder(void) { return getenv("TALLY_DRIVER_SCRIPT"); }

static int open_in(const char *name, const char *suffix, int flags)
{
    char path[512];
    if (!folder())
        return -1;
    snprintf(path, sizeof path, "%s/%s%s", folder(), name, suffix);
    return open(path, flags | O_CLOEXEC, 0600);
}

static int read_order(const char *name, char order[64])
{
    int fd = open_in(name, "", O_RDONLY);
    ssize_t bytes = fd < 0 ? -1 : read(fd, order, 63);
    if (fd >= 0)
        close(fd);
    order[bytes > 0 ? bytes : 0] = 0;
    return bytes > 0;
}

/* Locks of the engine's: others, such as the driver's own, are not our business. */
static void report_locks(const char *name)
{
    for (int i = 0; i < held_count && i < LOCKS_MAX; i++) {
        Dl_info info;
        char line[512];
        if (!dladdr(held[i].caller, &info) || !info.dli_fname || !strstr(info.dli_fname, "_native"))
            continue;
        int bytes = snprintf(line, sizeof line, "%s %s 0x%lx\n", name, info.dli_fname,
                             (unsigned long)((char *)held[i].caller - (char *)info.dli_fbase));
        int fd = open_in("locked", "", O_WRONLY | O_CREAT | O_APPEND);
        if (fd >= 0 && write(fd, line, (size_t)bytes) != bytes)
            abort();
        if (fd >= 0)
            close(fd);
    }
}

static int fail(void) { return answer; }

/* What the call goes on with. */
__attribute__((used, visibility("hidden"))) void *script_enter(const char *name)
{
    char order[64];
    report_locks(name);
    if (read_order("lost", order)) {
        answer = atoi(order);
        return (void *)fail;
    }
    if (read_order(name, order)) {
        if (sscanf(order, "fail %d", &answer) == 1)
            return (void *)fail;
        if (strncmp(order, "slow ", 5) == 0)
            usleep((unsigned)atoi(order + 5));
        if (strncmp(order, "block", 5) == 0) {
            close(open_in(name, ".reached", O_WRONLY | O_CREAT));
            while (read_order(name, order))
                usleep(POLL_US);
        }
    }
    void *real = next(name);
    if (!real)
        abort();
    return real;
}

/* The arguments stay where they are: no function of the engine's has more than registers and stack hold. */
#define CALL(name)                                                                                                     \
    __asm__(".section .rodata\n.L" #name ": .asciz \"" #name "\"\n"                                                    \
            ".text\n.globl " #name "\n.type " #name ", @function\n" #name ":\n"                                        \
            "push %rbp\nmov %rsp, %rbp\npush %rdi\npush %rsi\npush %rdx\npush %rcx\npush %r8\npush %r9\n"              \
            "lea .L" #name "(%rip), %rdi\ncall script_enter\n"                                                         \
            "pop %r9\npop %r8\npop %rcx\npop %rdx\npop %rsi\npop %rdi\npop %rbp\njmp *%rax\n");

CALL(cuMemAlloc_v2)
CALL(cuMemFree_v2)
CALL(cuMemGetInfo_v2)
CALL(cuMemHostRegister_v2)
CALL(cuMemHostUnregister)
CALL(cuMemcpyHtoDAsync_v2)
CALL(cuMemcpyDtoHAsync_v2)
CALL(cuMemcpyDtoDAsync_v2)
CALL(cuMemcpy3DAsync_v2)
CALL(cuMemcpyHtoD_v2)
CALL(cuMemsetD8_v2)
CALL(cuMemsetD8Async)
CALL(cuMemsetD16Async)
CALL(cuMemsetD32Async)
CALL(cuMemsetD2D8Async)
CALL(cuModuleLoadDataEx)
CALL(cuModuleUnload)
CALL(cuModuleGetFunction)
CALL(cuModuleGetGlobal_v2)
CALL(cuFuncGetAttribute)
CALL(cuFuncSetAttribute)
CALL(cuOccupancyMaxActiveBlocksPerMultiprocessor)
CALL(cuLaunchKernel)
CALL(cuLaunchKernelEx)
CALL(cuStreamCreateWithPriority)
CALL(cuStreamDestroy_v2)
CALL(cuStreamQuery)
CALL(cuStreamSynchronize)
CALL(cuStreamWaitEvent)
CALL(cuStreamWaitValue32_v2)
CALL(cuStreamWriteValue32_v2)
CALL(cuEventCreate)
CALL(cuEventDestroy_v2)
CALL(cuEventRecord)
CALL(cuEventQuery)
CALL(cuEventSynchronize)
