/* A thread leaves its wait and does not come back: argv[1] is cancel or jump (out of a signal handler), argv[2] says
 * what it was: alone, the first of two that waited, or the second. All other calls go on. */
#include "driver.h"
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Ends when the word is not 0. */
static const char until_ptx[] =
    ".version 7.0\n.target sm_70\n.address_size 64\n"
    ".visible .entry until(.param .u64 word)\n{\n"
    "    .reg .pred %p;\n    .reg .b32 %r;\n    .reg .b64 %d;\n    ld.param.u64 %d, [word];\n"
    "AGAIN:\n    ld.volatile.global.u32 %r, [%d];\n    setp.eq.u32 %p, %r, 0;\n    @%p bra AGAIN;\n"
    "    ret;\n}\n";

static CUcontext context;

struct waiter {
    CUstream stream;
    volatile uint32_t *word;
    pthread_t thread;
    volatile pid_t tid; /* once it is about to wait */
    volatile int back;
};

static _Thread_local sigjmp_buf out;

static void jump(int number)
{
    siglongjmp(out, number);
}

static void *run(void *argument)
{
    struct waiter *waiter = argument;
    CHECK(cuCtxSetCurrent(context));
    if (!sigsetjmp(out, 1)) {
        waiter->tid = (pid_t)syscall(SYS_gettid);
        CHECK(cuStreamSynchronize(waiter->stream));
    } else {
        size_t bytes; /* the very thread that has jumped calls again, and has to wait for the answer */
        CHECK(cuMemGetInfo_v2(&bytes, &bytes));
    }
    waiter->back = 1;
    return NULL;
}

/* Until the thread sleeps in poll (7) or on a futex (202), as the kernel tells. */
static void until_it_waits(const struct waiter *waiter)
{
    char path[64];
    int number = -1;
    while (!waiter->tid)
        usleep(1000);
    snprintf(path, sizeof path, "/proc/self/task/%d/syscall", (int)waiter->tid);
    while (number != 7 && number != 202) {
        usleep(1000);
        FILE *file = fopen(path, "r");
        if (!file || fscanf(file, "%d", &number) != 1)
            number = -1;
        if (file)
            fclose(file);
    }
}

static void start(struct waiter *waiter, CUfunction function, void *words)
{
    CHECK(cuStreamCreate(&waiter->stream, 1));
    CUdeviceptr address = (CUdeviceptr)(uintptr_t)words;
    void *params[] = {&address};
    waiter->word = words;
    *waiter->word = 0;
    waiter->tid = waiter->back = 0;
    CHECK(cuLaunchKernel(function, 1, 1, 1, 1, 1, 1, 0, waiter->stream, params, NULL));
}

static void wait_in_thread(struct waiter *waiter)
{
    EXPECT(!pthread_create(&waiter->thread, NULL, run, waiter), "no thread");
    until_it_waits(waiter);
}

static void leave(struct waiter *waiter, int by_jump)
{
    void *result;
    if (by_jump)
        pthread_kill(waiter->thread, SIGUSR1);
    else
        pthread_cancel(waiter->thread);
    pthread_join(waiter->thread, &result);
    EXPECT(by_jump == (result != PTHREAD_CANCELED), "the thread ended otherwise");
    EXPECT(by_jump == waiter->back, "the thread came back from its wait");
}

int main(int argc, char **argv)
{
    EXPECT(argc == 3, "usage: leave cancel|jump alone|first|second");
    int by_jump = !strcmp(argv[1], "jump"), alone = !strcmp(argv[2], "alone");
    int first = !strcmp(argv[2], "first");
    CUdevice device;
    CUmodule module;
    CUfunction function;
    char *words;
    size_t bytes;
    alarm(50);
    signal(SIGUSR1, jump);
    load_driver();
    CHECK(cuInit(0));
    CHECK(cuDeviceGet(&device, 0));
    CHECK(cuCtxCreate_v2(&context, 0, device));
    CHECK(cuModuleLoadData(&module, until_ptx));
    CHECK(cuModuleGetFunction(&function, module, "until"));
    CHECK(cuMemHostAlloc((void **)&words, 4096, 0));
    for (int round = 0; round < 10; round++) {
        struct waiter leaver, stayer;
        start(&leaver, function, words);
        start(&stayer, function, words + 64);
        if (!alone && !first)
            wait_in_thread(&stayer);
        wait_in_thread(&leaver);
        if (first)
            wait_in_thread(&stayer);
        leave(&leaver, by_jump);
        CHECK(cuMemGetInfo_v2(&bytes, &bytes));
        *stayer.word = 1;
        if (!alone)
            pthread_join(stayer.thread, NULL);
        CHECK(cuStreamSynchronize(stayer.stream));
        *leaver.word = 1;
        CHECK(cuStreamSynchronize(leaver.stream));
        CHECK(cuStreamDestroy_v2(leaver.stream));
        CHECK(cuStreamDestroy_v2(stayer.stream));
    }
    puts("ok");
    return 0;
}
