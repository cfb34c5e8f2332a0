/* Holds one session open and computes once for every line that it reads: is that session still sound? */
#include "driver.h"

int main(void)
{
    char line[64];
    load_driver();
    compute(2);
    puts("ready");
    fflush(stdout);
    while (fgets(line, sizeof line, stdin)) {
        compute(atoi(line));
        puts("ok");
        fflush(stdout);
    }
    return 0;
}
