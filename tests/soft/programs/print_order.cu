/* What the host prints and what kernels print, in the order of the program, though stdout is buffered. */
#include "check.h"
#include <unistd.h>

__global__ void say(int number) { printf("device %d\n", number); }

int main()
{
    for (int i = 0; i < 5; i++) {
        printf("host %d\n", i);
        say<<<1, 1>>>(i);
        CHECK(cudaDeviceSynchronize());
    }
    _exit(0); /* what kernels printed is out all the same, and so is what came before it */
}
