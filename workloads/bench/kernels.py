"""softgpu against pocl: the same three kernels, as CUDA and as OpenCL, turn by turn.

As python -m tally.workloads.bench.kernels cuda|opencl REPETITIONS it prints one JSON object:
milliseconds for each kernel, from its launch to its completion.
"""

from __future__ import annotations

import ctypes
import json
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from tally.errors import TallyError
from tally.workloads.local import LocalDaemon

from .result import Figure, compare

ADD_COUNT = 1 << 24
MATRIX = 512
SUM_COUNT = 1 << 24
SUM_GROUPS = 256
TARGET = 0.33
NAMES = {"add": "vector add", "multiply": "tiled matmul", "reduce": "reduction"}

# One source for both: the few words that differ are macros.
PRELUDE_CUDA = """
#define KERNEL extern "C" __global__ void
#define GLOBAL
#define LOCAL __shared__
#define LOCAL_ID(d) (d ? threadIdx.y : threadIdx.x)
#define GROUP_ID(d) (d ? blockIdx.y : blockIdx.x)
#define GROUP_SIZE blockDim.x
#define GLOBAL_SIZE (blockDim.x * gridDim.x)
#define BARRIER __syncthreads()
"""
PRELUDE_OPENCL = """
#define KERNEL __kernel void
#define GLOBAL __global
#define LOCAL __local
#define LOCAL_ID(d) get_local_id(d)
#define GROUP_ID(d) get_group_id(d)
#define GROUP_SIZE get_local_size(0)
#define GLOBAL_SIZE get_global_size(0)
#define BARRIER barrier(CLK_LOCAL_MEM_FENCE)
"""
SOURCE = """
KERNEL add(GLOBAL const float *a, GLOBAL const float *b, GLOBAL float *c, int n)
{
    int i = GROUP_ID(0) * GROUP_SIZE + LOCAL_ID(0);
    if (i < n)
        c[i] = a[i] + b[i];
}

#define TILE 16
KERNEL multiply(GLOBAL const float *a, GLOBAL const float *b, GLOBAL float *c, int n)
{
    LOCAL float tile_a[TILE][TILE], tile_b[TILE][TILE];
    int x = LOCAL_ID(0), y = LOCAL_ID(1);
    int row = GROUP_ID(1) * TILE + y, column = GROUP_ID(0) * TILE + x;
    float sum = 0;
    for (int start = 0; start < n; start += TILE) {
        tile_a[y][x] = a[row * n + start + x];
        tile_b[y][x] = b[(start + y) * n + column];
        BARRIER;
        for (int i = 0; i < TILE; i++)
            sum += tile_a[y][i] * tile_b[i][x];
        BARRIER;
    }
    c[row * n + column] = sum;
}

KERNEL reduce(GLOBAL const float *a, GLOBAL const float *unused, GLOBAL float *sums, int n)
{
    LOCAL float partial[256];
    int x = LOCAL_ID(0);
    float sum = 0;
    for (int i = GROUP_ID(0) * GROUP_SIZE + x; i < n; i += GLOBAL_SIZE)
        sum += a[i];
    partial[x] = sum;
    BARRIER;
    for (int width = 128; width > 0; width /= 2) {
        if (x < width)
            partial[x] += partial[x + width];
        BARRIER;
    }
    if (x == 0)
        sums[GROUP_ID(0)] = partial[0];
}
"""

# Kernel, elements (in, in, out), argument n, grid, block.
Shape = tuple[str, tuple[int, int, int], int, tuple[int, int], tuple[int, int]]
SHAPES: list[Shape] = [
    ("add", (ADD_COUNT,) * 3, ADD_COUNT, (ADD_COUNT // 256, 1), (256, 1)),
    ("multiply", (MATRIX * MATRIX,) * 3, MATRIX, (MATRIX // 16, MATRIX // 16), (16, 16)),
    ("reduce", (SUM_COUNT, 1, SUM_GROUPS), SUM_COUNT, (SUM_GROUPS, 1), (256, 1)),
]


def inputs(shape: Shape) -> tuple[Any, Any]:
    rng = np.random.default_rng(5)
    first, second, _ = shape[1]
    return rng.random(first, dtype=np.float32), rng.random(second, dtype=np.float32)


def check(shape: Shape, a: Any, b: Any, c: Any) -> None:
    """Both devices computed the right thing. TallyError otherwise."""
    name = shape[0]
    if name == "add":
        right = np.array_equal(c, a + b)
    elif name == "multiply":
        square = (MATRIX, MATRIX)
        right = np.allclose(c.reshape(square), a.reshape(square) @ b.reshape(square), rtol=1e-4)
    else:
        right = np.isclose(c.sum(dtype=np.float64), a.sum(dtype=np.float64), rtol=1e-4)
    if not right:
        raise TallyError(f"the {NAMES[name]} came out wrong")


def run_cuda(repetitions: int) -> dict[str, list[float]]:
    from cuda.bindings import driver, nvrtc

    def ok(result: tuple[Any, ...]) -> Any:
        if int(result[0]) != 0:
            raise TallyError(f"CUDA error {result[0]}")
        return result[1] if len(result) > 1 else None

    ok(driver.cuInit(0))
    ok(driver.cuCtxSetCurrent(ok(driver.cuDevicePrimaryCtxRetain(ok(driver.cuDeviceGet(0))))))
    program = ok(nvrtc.nvrtcCreateProgram((PRELUDE_CUDA + SOURCE).encode(), b"k.cu", 0, [], []))
    ok(nvrtc.nvrtcCompileProgram(program, 1, [b"--gpu-architecture=compute_80"]))
    ptx = b" " * ok(nvrtc.nvrtcGetPTXSize(program))
    ok(nvrtc.nvrtcGetPTX(program, ptx))
    module = ok(driver.cuModuleLoadData(ptx))
    times: dict[str, list[float]] = {}
    for shape in SHAPES:
        name, sizes, n, grid, block = shape
        a, b = inputs(shape)
        c = np.zeros(sizes[2], dtype=np.float32)
        kernel = ok(driver.cuModuleGetFunction(module, name.encode()))
        pointers = [ok(driver.cuMemAlloc(4 * size)) for size in sizes]
        ok(driver.cuMemcpyHtoD(pointers[0], a.ctypes.data, a.nbytes))
        ok(driver.cuMemcpyHtoD(pointers[1], b.ctypes.data, b.nbytes))
        arguments = ((*pointers, n), (None, None, None, ctypes.c_int))

        def launch(
            kernel: Any = kernel, grid: Any = grid, block: Any = block, a: Any = arguments
        ) -> None:
            ok(driver.cuLaunchKernel(kernel, *grid, 1, *block, 1, 0, 0, a, 0))
            ok(driver.cuCtxSynchronize())

        times[name] = time_launches(launch, repetitions)
        ok(driver.cuMemcpyDtoH(c.ctypes.data, pointers[2], c.nbytes))
        check(shape, a, b, c)
        for pointer in pointers:
            ok(driver.cuMemFree(pointer))
    return times


def run_opencl(repetitions: int) -> dict[str, list[float]]:
    import pyopencl

    devices = [
        d for p in pyopencl.get_platforms() if "pocl" in p.version.lower() for d in p.get_devices()
    ]
    context = pyopencl.Context(devices[:1])
    queue = pyopencl.CommandQueue(context)
    program = pyopencl.Program(context, PRELUDE_OPENCL + SOURCE).build()
    flags = pyopencl.mem_flags.READ_WRITE | pyopencl.mem_flags.COPY_HOST_PTR
    times: dict[str, list[float]] = {}
    for shape in SHAPES:
        name, sizes, n, grid, block = shape
        a, b = inputs(shape)
        c = np.zeros(sizes[2], dtype=np.float32)
        buffers = [pyopencl.Buffer(context, flags, hostbuf=array) for array in (a, b, c)]
        kernel = pyopencl.Kernel(program, name)
        kernel.set_args(*buffers, np.int32(n))
        total = (grid[0] * block[0], grid[1] * block[1])

        def launch(kernel: Any = kernel, total: Any = total, block: Any = block) -> None:
            pyopencl.enqueue_nd_range_kernel(queue, kernel, total, block)
            queue.finish()

        times[name] = time_launches(launch, repetitions)
        pyopencl.enqueue_copy(queue, c, buffers[2]).wait()
        check(shape, a, b, c)
    return times


def time_launches(launch: Callable[[], None], repetitions: int) -> list[float]:
    """Milliseconds of each launch, after one that compiles and touches the memory."""
    launch()
    times = []
    for _ in range(repetitions):
        began = time.perf_counter()
        launch()
        times.append((time.perf_counter() - began) * 1e3)
    return times


def missing_pocl() -> str:
    """What to install before softgpu can be compared with pocl; empty if all is there."""
    try:
        import pyopencl
    except ImportError:
        return "pip install pyopencl"
    try:
        platforms = [p.version.lower() for p in pyopencl.get_platforms()]
    except pyopencl.Error:
        platforms = []
    if not any("pocl" in version for version in platforms):
        return "apt-get install pocl-opencl-icd"
    return ""


def measure(daemon: LocalDaemon, rounds: int, repetitions: int = 5) -> list[Figure]:
    """softgpu's and pocl's times, `rounds` times in turn. TallyError if a program fails."""
    ours: dict[str, list[float]] = {name: [] for name in NAMES}
    theirs: dict[str, list[float]] = {name: [] for name in NAMES}
    base = [sys.executable, "-P", "-m", "tally.workloads.bench.kernels"]
    for _ in range(rounds):
        for side, into in (("cuda", ours), ("opencl", theirs)):
            argv = [*base, side, str(repetitions)]
            if side == "cuda":
                argv = daemon.command(*argv, job_class="high", name="bench-kernels")
            done = subprocess.run(
                argv, env=daemon.env, capture_output=True, text=True, timeout=600, check=False
            )
            if done.returncode != 0:
                raise TallyError(f"kernels on {side} failed:\n{done.stderr[-2000:]}")
            for name, times in json.loads(done.stdout.splitlines()[-1]).items():
                into[name].extend(times)
    return [
        compare(
            f"softgpu / pocl: {title}",
            "ms",
            ours[name],
            theirs[name],
            TARGET,
            at_most=False,
            inverse=True,
            note="as a share of pocl's speed",
        )
        for name, title in NAMES.items()
    ]


if __name__ == "__main__":
    run = {"cuda": run_cuda, "opencl": run_opencl}[sys.argv[1]]
    print(json.dumps(run(int(sys.argv[2]))))
