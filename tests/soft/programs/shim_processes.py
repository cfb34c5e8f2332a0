"""Threads that share a channel, and children that must not."""

from __future__ import annotations

import os
import threading
import time
from ctypes import byref, c_size_t, c_uint32, c_uint64

from shim_driver import (
    NOT_INITIALIZED,
    allocate,
    child,
    cuda,
    download,
    expect,
    function,
    launch,
    load,
    start,
    stream,
    upload,
)


def compute() -> None:
    """From cuInit to a result, as a process that knows nothing of its parent."""
    start()
    data = allocate(1024)
    expect(cuda.cuMemsetD32_v2(data, 1, c_size_t(256)))
    expect(launch(function(load(), b"add_one"), data, c_uint32(256), block=(256, 1, 1)))
    assert download(data, 1024) == (2).to_bytes(4, "little") * 256


def inherit_nothing() -> None:
    """A parent's context is void in its child, as with CUDA; the child may begin anew."""
    expect(cuda.cuCtxSynchronize(), NOT_INITIALIZED)
    compute()


def many_threads(context: object) -> None:
    """Copies of all sizes in eight threads at once: every reply finds its caller."""
    failures: list[BaseException] = []

    def work(number: int) -> None:
        try:
            expect(cuda.cuCtxSetCurrent(context))
            for turn in range(6):
                size = (1000, 40000, 3000000)[(number + turn) % 3]
                data, device = os.urandom(size), allocate(size)
                upload(device, data)
                assert download(device, size) == data
                expect(cuda.cuStreamSynchronize_ptsz(None))
                expect(cuda.cuMemFree_v2(device))
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures, failures


def waiting_blocks_nobody(context: object) -> None:
    """While one thread waits for its stream, another's calls are answered."""
    on, waited = stream(), threading.Event()
    expect(launch(function(load(), b"spin"), c_uint64(500_000_000), on=on))

    def wait() -> None:
        expect(cuda.cuCtxSetCurrent(context))
        expect(cuda.cuStreamSynchronize(on))
        waited.set()

    thread = threading.Thread(target=wait)
    thread.start()
    time.sleep(0.05)
    free, total, calls = c_size_t(), c_size_t(), 0
    while not waited.is_set():
        expect(cuda.cuMemGetInfo_v2(byref(free), byref(total)))
        calls += 1
    thread.join()
    assert calls > 5, calls


def main() -> None:
    assert child(compute) == 0  # before this process has said anything
    context = start()
    assert child(inherit_nothing) == 0
    many_threads(context)
    waiting_blocks_nobody(context)
    assert child(inherit_nothing) == 0
    compute()
    print("ok")


main()
