/* A program that makes one CUDA call: one_call [DRIVER LIBRARY]. */
#include <dlfcn.h>

int main(int argc, char **argv)
{
    void *library = dlopen(argc > 1 ? argv[1] : "libcuda.so.1", RTLD_NOW);
    int (*init)(unsigned) = library ? (int (*)(unsigned))dlsym(library, "cuInit") : 0;
    return init ? init(0) : 99;
}
