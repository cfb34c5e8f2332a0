// Two kernels of one module, of which softgpu cannot run the second: it reads a texture.
#include "check.h"

__global__ void fine(int *out)
{
    out[threadIdx.x] = 42;
}

__global__ void textured(float *out, cudaTextureObject_t texture)
{
    out[threadIdx.x] = tex2D<float>(texture, threadIdx.x, 0.0f);
}

int main()
{
    int *out, host[32];
    CHECK(cudaMalloc(&out, sizeof host));
    textured<<<1, 32>>>((float *)out, 0);
    CHECK_ERROR(cudaDeviceSynchronize(), cudaErrorNotSupported);
    cudaGetLastError();
    fine<<<1, 32>>>(out);
    CHECK(cudaMemcpy(host, out, sizeof host, cudaMemcpyDeviceToHost));
    for (int value : host)
        if (value != 42)
            return 1;
    return 0;
}
