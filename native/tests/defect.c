/* One defect of each kind that the sanitizers are for. tests/sanitize.sh makes sure that each is
 * reported, so that its silence about everything else means something: as a program, and as a
 * driver whose functions the engine calls in an executor (tests/support/defect.py). */
#include <dlfcn.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static volatile int shared;

static int address(void)
{
    /* A compiler must not know its size, nor drop the store. */
    volatile char *volatile block = malloc(16);
    if (block)
        block[16] = 1;
    free((void *)block);
    return 0;
}

static int undefined(void)
{
    volatile int most = INT_MAX;
    most = most + 1;
    return most;
}

static void *store(void *unused)
{
    shared = 1;
    return unused;
}

static int thread(void)
{
    pthread_t other;
    if (pthread_create(&other, NULL, store, NULL) != 0)
        return 0;
    shared = 2;
    pthread_join(other, NULL);
    return 0;
}

/* Returns -1 for a kind that does not exist. */
static int commit(const char *kind)
{
    if (strcmp(kind, "address") == 0)
        return address();
    if (strcmp(kind, "undefined") == 0)
        return undefined();
    return strcmp(kind, "thread") == 0 ? thread() : -1;
}

/* As a driver, linked against softgpu: called on a session's thread when a program asks for free
 * memory. */
__attribute__((visibility("default"))) int cuMemGetInfo_v2(size_t *free_bytes, size_t *total_bytes)
{
    const char *kind = getenv("DEFECT");
    int (*real)(size_t *, size_t *);
    *(void **)&real = dlsym(RTLD_NEXT, "cuMemGetInfo_v2");
    commit(kind ? kind : "");
    return real ? real(free_bytes, total_bytes) : 999;
}

int main(int argc, char **argv)
{
    if (argc == 2 && commit(argv[1]) >= 0)
        return 0;
    fprintf(stderr, "usage: %s address|undefined|thread\n", argv[0]);
    return 2;
}
