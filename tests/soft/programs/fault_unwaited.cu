/* A kernel fails, and the program learns of it from its next launches alone: it waits for nothing. */
#include "check.h"

__global__ void write_wild(int *address) { *address = 1; }
__global__ void nothing() {}

int main()
{
    nothing<<<1, 1>>>();
    write_wild<<<1, 1>>>((int *)0x10);
    for (int i = 0; i < 100000000; i++) {
        nothing<<<1, 1>>>();
        if (cudaGetLastError() == cudaErrorIllegalAddress)
            return 0;
    }
    return 1;
}
