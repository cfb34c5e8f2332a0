"""cuda.core: device, stream, memory, program and launch, the way its documentation shows."""

import numpy as np
from cuda.core import (
    Device,
    LaunchConfig,
    LegacyPinnedMemoryResource,
    Program,
    ProgramOptions,
    launch,
)

SOURCE = """
template <typename T> __global__ void scale(T *data, T factor, size_t n)
{
    for (size_t i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += gridDim.x * blockDim.x)
        data[i] *= factor;
}
"""


def main():
    device = Device()
    device.set_current()
    stream = device.create_stream()
    options = ProgramOptions(std="c++17", arch="sm_80")
    program = Program(SOURCE, code_type="c++", options=options)
    module = program.compile("ptx", name_expressions=("scale<float>", "scale<double>"))
    pinned = LegacyPinnedMemoryResource()
    for kind, name in ((np.float32, "scale<float>"), (np.float64, "scale<double>")):
        kernel = module.get_kernel(name)
        n = 5003
        buffer = pinned.allocate(n * np.dtype(kind).itemsize)
        data = np.from_dlpack(buffer).view(dtype=kind)
        data[:] = np.arange(n)
        stream.sync()
        launch(stream, LaunchConfig(grid=8, block=128), kernel, buffer, kind(1.5), np.uint64(n))
        event = stream.record()
        event.sync()
        np.testing.assert_array_equal(data, np.arange(n) * 1.5)
        buffer.close(stream)
    stream.close()
    print("ok")


main()
