/* TALLY_ASSERT holds in release builds: this file is compiled with NDEBUG, as they are. */
#define NDEBUG
#include "tally/assert.h"

#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/check.h"

/* What a child that asserts `holds` says, and how it ends. */
static int status_of(int holds, char *said, size_t bytes)
{
    int ends[2];
    if (pipe(ends) != 0)
        return -1;
    pid_t child = fork();
    if (child == 0) {
        dup2(ends[1], STDERR_FILENO);
        TALLY_ASSERT(holds == 1);
        _exit(0);
    }
    close(ends[1]);
    ssize_t count = read(ends[0], said, bytes - 1);
    said[count > 0 ? count : 0] = 0;
    close(ends[0]);
    int status = -1;
    waitpid(child, &status, 0);
    return status;
}

int main(void)
{
    char said[256];
    int evaluated = 0;
    TALLY_ASSERT(++evaluated); /* once */
    CHECK(evaluated == 1);
    CHECK(status_of(1, said, sizeof said) == 0);
    CHECK(!*said);
    int status = status_of(0, said, sizeof said);
    CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
    CHECK(strstr(said, "native/tests/assert_test.c:21: this does not hold: holds == 1"));
    CHECK(strncmp(said, "tally: native/", 14) == 0); /* the repository's path, not a machine's */
    return CHECK_RESULT();
}
