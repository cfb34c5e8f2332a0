"""cuda-python's low-level bindings: NVRTC to PTX, driver API, results checked with numpy."""

import ctypes

import numpy as np
from cuda.bindings import driver, nvrtc

SOURCE = b"""
extern "C" __global__ void saxpy(float a, const float *x, float *y, int n)
{
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n)
        y[i] = a * x[i] + y[i];
}
"""


def check(result):
    error, *values = result
    if int(error) != 0:
        raise RuntimeError(f"CUDA error {error}")
    return values[0] if len(values) == 1 else values


def compile_ptx(source):
    program = check(nvrtc.nvrtcCreateProgram(source, b"saxpy.cu", 0, [], []))
    check(nvrtc.nvrtcCompileProgram(program, 1, [b"--gpu-architecture=compute_80"]))
    ptx = b" " * check(nvrtc.nvrtcGetPTXSize(program))
    check(nvrtc.nvrtcGetPTX(program, ptx))
    return ptx


def main():
    check(driver.cuInit(0))
    device = check(driver.cuDeviceGet(0))
    print(check(driver.cuDeviceGetName(128, device)).rstrip(b"\0").decode())
    context = check(driver.cuDevicePrimaryCtxRetain(device))
    check(driver.cuCtxSetCurrent(context))
    module = check(driver.cuModuleLoadData(compile_ptx(SOURCE)))
    kernel = check(driver.cuModuleGetFunction(module, b"saxpy"))
    stream = check(driver.cuStreamCreate(0))
    n = 10007
    x = np.random.default_rng(1).random(n, dtype=np.float32)
    y = np.arange(n, dtype=np.float32)
    device_x, device_y = (check(driver.cuMemAlloc(array.nbytes)) for array in (x, y))
    check(driver.cuMemcpyHtoDAsync(device_x, x.ctypes.data, x.nbytes, stream))
    check(driver.cuMemcpyHtoDAsync(device_y, y.ctypes.data, y.nbytes, stream))
    arguments = (
        (2.5, device_x, device_y, n),
        (ctypes.c_float, None, None, ctypes.c_int),
    )
    check(driver.cuLaunchKernel(kernel, (n + 255) // 256, 1, 1, 256, 1, 1, 0, stream, arguments, 0))
    result = np.empty_like(y)
    check(driver.cuMemcpyDtoHAsync(result.ctypes.data, device_y, y.nbytes, stream))
    check(driver.cuStreamSynchronize(stream))
    np.testing.assert_allclose(result, 2.5 * x + y, rtol=1e-6)
    for pointer in (device_x, device_y):
        check(driver.cuMemFree(pointer))
    check(driver.cuStreamDestroy(stream))
    check(driver.cuModuleUnload(module))
    check(driver.cuDevicePrimaryCtxRelease(device))
    print("ok")


main()
