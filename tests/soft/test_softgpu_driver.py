"""softgpu's driver API with real module images: what nvcc makes, in every packing it knows."""

from __future__ import annotations

import ctypes
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from support import toolchain
from support.daemon import plain_environment
from support.soft_device import Module, SoftDevice, SoftError, soft_device

SOURCE = Path(__file__).with_name("softgpu_driver.cu")
CUDA_ERROR_INVALID_IMAGE = 200
CUDA_ERROR_NO_BINARY_FOR_GPU = 209
CUDA_ERROR_INVALID_PTX = 218

pytestmark = [
    pytest.mark.beside,
    pytest.mark.skipif(toolchain.toolkit() is None, reason="needs nvcc"),
]


@pytest.fixture
def device() -> SoftDevice:
    return soft_device()


def load_image(device: SoftDevice, image: bytes) -> Module:
    handle = ctypes.c_void_p()
    data = ctypes.create_string_buffer(image, len(image) + 1)
    device.call("cuModuleLoadData", ctypes.byref(handle), data)
    return Module(device, handle)


def check_add(device: SoftDevice, module: Module) -> None:
    n = 1000
    left = np.arange(n, dtype=np.float32)
    right = np.linspace(0, 1, n, dtype=np.float32)
    a, b = device.buffer(left), device.buffer(right)
    module.launch("add", [(n + 127) // 128], [128], a, b, n)
    expected = left + (np.float32(2) * right + np.array([1, 2, 3, 4], np.float32)[np.arange(n) % 4])
    np.testing.assert_allclose(a.read(), expected, rtol=1e-6)
    a.free()
    b.free()


@pytest.mark.parametrize("mode", ["default", "size", "speed", "balance", "none"])
def test_fatbin_in_every_compression(device: SoftDevice, mode: str) -> None:
    flags = ("-gencode", "arch=compute_75,code=[sm_75,compute_75]", "-compress-mode", mode)
    module = load_image(device, toolchain.compile_fatbin(SOURCE, flags).read_bytes())
    check_add(device, module)
    device.call("cuModuleUnload", module.handle)


def test_several_architectures(device: SoftDevice) -> None:
    flags: tuple[str, ...] = ()
    for arch in (75, 80, 90):
        flags += ("-gencode", f"arch=compute_{arch},code=compute_{arch}")
    check_add(device, load_image(device, toolchain.compile_fatbin(SOURCE, flags).read_bytes()))


def test_machine_code_only(device: SoftDevice) -> None:
    image = toolchain.compile_fatbin(SOURCE, ("-gencode", "arch=compute_80,code=sm_80"))
    with pytest.raises(SoftError) as error:
        load_image(device, image.read_bytes())
    assert error.value.result == CUDA_ERROR_NO_BINARY_FOR_GPU


def test_broken_images(device: SoftDevice) -> None:
    image = bytearray(toolchain.compile_fatbin(SOURCE).read_bytes())
    image[4] = 9  # the container's version
    with pytest.raises(SoftError) as error:
        load_image(device, bytes(image))
    assert error.value.result == CUDA_ERROR_INVALID_IMAGE


def test_log_names_the_line(device: SoftDevice) -> None:
    ptx = ".version 8.0\n.target sm_80\n.address_size 64\n"
    ptx += ".visible .entry k()\n{\n  no.such.op %r1;\n  ret;\n}\n"
    with pytest.raises(SoftError) as error:
        device.load(ptx)
    assert error.value.result == CUDA_ERROR_INVALID_PTX
    assert "6" in error.value.log


def test_variables_belong_to_the_instance(device: SoftDevice) -> None:
    image = toolchain.compile_fatbin(SOURCE).read_bytes()
    first, second = load_image(device, image), load_image(device, image)
    addresses = []
    for module in (first, second):
        address, size = ctypes.c_uint64(), ctypes.c_size_t()
        device.call(
            "cuModuleGetGlobal_v2",
            ctypes.byref(address),
            ctypes.byref(size),
            module.handle,
            b"table",
        )
        assert size.value == 16
        addresses.append(address.value)
    assert addresses[0] != addresses[1]
    device.call("cuMemsetD32_v2", ctypes.c_uint64(addresses[0]), 7, ctypes.c_size_t(4))
    check_add(device, second)


DRY = """
import ctypes, sys
library = ctypes.CDLL(sys.argv[1])
image = open(sys.argv[2], "rb").read()
def call(name, *args):
    result = getattr(library, name)(*args)
    assert result == 0, (name, result)
call("softgpuConfigure", 1, 1, ctypes.c_uint64(0), 1)
call("cuInit", 0)
context, module, function = ctypes.c_void_p(), ctypes.c_void_p(), ctypes.c_void_p()
call("cuDevicePrimaryCtxRetain", ctypes.byref(context), 0)
call("cuCtxSetCurrent", context)
call("cuModuleLoadData", ctypes.byref(module), image)
count = ctypes.c_uint()
call("cuModuleGetFunctionCount", ctypes.byref(count), module)
assert count.value == 6, count.value
call("cuModuleGetFunction", ctypes.byref(function), module, b"add")
assert library.cuModuleGetFunction(ctypes.byref(ctypes.c_void_p()), module, b"nothing") == 500
layout = []
offset, size = ctypes.c_size_t(), ctypes.c_size_t()
results = (ctypes.byref(offset), ctypes.byref(size))
while library.cuFuncGetParamInfo(function, ctypes.c_size_t(len(layout)), *results) == 0:
    layout.append((offset.value, size.value))
assert layout == [(0, 8), (8, 8), (16, 4)], layout
address, size = ctypes.c_uint64(), ctypes.c_size_t()
call("cuModuleGetGlobal_v2", ctypes.byref(address), ctypes.byref(size), module, b"table")
assert size.value == 16
table = (ctypes.c_int * 4)()
call("cuMemcpyDtoH_v2", table, address, ctypes.c_size_t(16))
assert list(table) == [1, 2, 3, 4], list(table)
values = [ctypes.c_uint64(0), ctypes.c_uint64(0), ctypes.c_int(0)]
pointers = (ctypes.c_void_p * 3)(*(ctypes.addressof(v) for v in values))
call("cuLaunchKernel", function, 1000, 1, 1, 128, 1, 1, 0, None, pointers, None)
call("cuCtxSynchronize")
call("cuModuleUnload", module)
"""


@pytest.mark.parametrize("code", ["sm_80", "[sm_80,compute_80]"])
@pytest.mark.parametrize("mode", ["none", "size"])
def test_dry_mode_knows_machine_code(device: SoftDevice, mode: str, code: str) -> None:
    flags = ("-gencode", f"arch=compute_80,code={code}", "-compress-mode", mode)
    image = toolchain.compile_fatbin(SOURCE, flags)
    command = [sys.executable, "-c", DRY, str(device.library._name), str(image)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr


WITHOUT_LIBZSTD = """
import ctypes, sys
from tally.daemon import softgpu
library = ctypes.CDLL(sys.argv[1])
image = open(sys.argv[2], "rb").read()
assert library.cuInit(0) == 0
context, module = ctypes.c_void_p(), ctypes.c_void_p()
assert library.cuDevicePrimaryCtxRetain(ctypes.byref(context), 0) == 0
assert library.cuCtxSetCurrent(context) == 0
log = ctypes.create_string_buffer(4096)
options = (ctypes.c_int * 2)(5, 6)  # CU_JIT_ERROR_LOG_BUFFER and its size
values = (ctypes.c_void_p * 2)(ctypes.addressof(log), 4096)
load = lambda: library.cuModuleLoadDataEx(ctypes.byref(module), image, 2, options, values)
assert load() == 200, "there is a libzstd after all"
assert b"zstd" in log.value, log.value
softgpu.install(library)
assert load() == 0, log.value
"""


def test_zstd_by_python_where_there_is_no_library(device: SoftDevice, no_libzstd: Path) -> None:
    flags = ("-gencode", "arch=compute_80,code=compute_80", "-compress-mode", "size")
    image = toolchain.compile_fatbin(SOURCE, flags)
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_LIBZSTD, str(device.library._name), str(image)],
        env=plain_environment() | {"LD_LIBRARY_PATH": str(no_libzstd)},
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
