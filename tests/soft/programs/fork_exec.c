/* Children of a CUDA program. argv[1]: exec, before (fork before cuInit), after (fork after it), child. */
#include "driver.h"
#include <sys/wait.h>
#include <unistd.h>

static int wait_for(pid_t pid)
{
    int status = -1;
    waitpid(pid, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

/* What a real driver says to a child that inherited an initialised one. */
static void check_inherited(void)
{
    CUdeviceptr pointer;
    int count;
    CHECK_ERROR(cuMemAlloc_v2(&pointer, 64), CUDA_ERROR_NOT_INITIALIZED);
    CHECK_ERROR(cuCtxSynchronize(), CUDA_ERROR_NOT_INITIALIZED);
    CHECK_ERROR(cuDeviceGetCount(&count), CUDA_ERROR_NOT_INITIALIZED);
    exit(0);
}

int main(int argc, char **argv)
{
    const char *mode = argc > 1 ? argv[1] : "";
    load_driver();
    if (!strcmp(mode, "child")) {
        compute(7);
        return 0;
    }
    if (!strcmp(mode, "before")) {
        pid_t child = fork();
        compute(child ? 2 : 3);
        if (!child)
            exit(0);
        EXPECT(wait_for(child) == 0, "the child failed");
    } else {
        compute(2);
        pid_t child = fork();
        if (child == 0) {
            if (!strcmp(mode, "after"))
                check_inherited();
            execl("/proc/self/exe", argv[0], "child", (char *)NULL);
            exit(9);
        }
        compute(4); /* while the child runs */
        EXPECT(wait_for(child) == 0, "the child failed");
        compute(5); /* its end took nothing away */
    }
    puts("ok");
    return 0;
}
