"""libcuda.so.1 from outside: exports, look-up, private tables, and libcudart starting over it."""

from __future__ import annotations

import ctypes
import importlib.util
import json
import os
import re
import shutil
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import zmq

from tally.client import paths, protocol
from tally.interpose.table import load

HERE = Path(__file__).parent
NATIVE_SHIM = HERE.parents[1] / "native" / "shim"
SHIM = paths.shim()
pytestmark = pytest.mark.skipif(SHIM is None, reason="the shim is not built: pip install .")

NOT_INITIALIZED, NO_DEVICE, NOT_FOUND, NOT_SUPPORTED, SYSTEM_NOT_READY = 3, 100, 500, 801, 802


def shim() -> Path:
    assert SHIM is not None
    return SHIM


def libcudart(folder: str, name: str) -> Path | None:
    """libcudart from PyPI, or None."""
    spec = importlib.util.find_spec("nvidia")
    for root in spec.submodule_search_locations or [] if spec else []:
        if (path := Path(root) / folder / "lib" / name).is_file():
            return path
    return None


LIBCUDARTS = {
    "12": libcudart("cuda_runtime", "libcudart.so.12"),
    "13": libcudart("cu13", "libcudart.so.13"),
}


def run(script: str, *argv: str, env: dict[str, str] | None = None) -> Any:
    """Run a script of shim_client.py's in a process of its own; what it printed, from JSON."""
    environ = {**os.environ, "LD_LIBRARY_PATH": str(shim().parent), **(env or {})}
    done = subprocess.run(
        [sys.executable, str(HERE / "shim_client.py"), script, *argv],
        env=environ,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout)


@pytest.fixture
def no_daemon(tmp_path: Path) -> dict[str, str]:
    return {"TALLY_RUNTIME_DIR": str(tmp_path), "TALLY_LIBZMQ": str(paths.loaded_libzmq())}


def device_info() -> bytes:
    """struct tally_device_info of a small device."""
    attributes = [0] * 192
    facts = {1: 1024, 2: 1024, 3: 1024, 4: 64, 5: 2**31 - 1, 6: 65535, 7: 65535, 8: 49152, 10: 32}
    facts |= {12: 65536, 16: 4, 33: 1, 39: 2048, 75: 9, 83: 1, 102: 1, 115: 1}
    for number, value in facts.items():
        attributes[number] = value
    return struct.pack(
        "<256s16sQii16Q32s192i",
        b"Tiny GPU",
        bytes(range(16)),
        1 << 33,
        0,
        -5,
        *([1024] * 16),
        b"0000:01:00.0",
        *attributes,
    )


class Hellos(threading.Thread):
    """As much of tallyd as a program needs that only looks: HELLO is answered, OPEN refused."""

    def __init__(self, runtime_dir: Path):
        super().__init__(daemon=True)
        self.delay_s = 0.0  # of HELLO's answer
        self.context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self.socket = self.context.socket(zmq.ROUTER)
        self.socket.bind(f"ipc://{runtime_dir / 'control.sock'}")
        self.unsupported: list[str] = []

    def run(self) -> None:
        """Until the context ends, which a send may meet as well as a receive."""
        try:
            while True:
                self.answer(*self.socket.recv_multipart())
        except zmq.ContextTerminated:
            self.socket.close(linger=0)

    def answer(self, peer: bytes, frame: bytes, payload: bytes) -> None:
        header = protocol.unpack_header(frame)
        if header.type == protocol.Type.HELLO:
            time.sleep(self.delay_s)
            hello = protocol.pack_hello_reply(1, [device_info()], 13000)
            self.socket.send_multipart([peer, frame, hello])
        elif header.type == protocol.Type.OPEN:
            refusal = header._replace(status=protocol.Status.UNAVAILABLE).pack()
            self.socket.send_multipart([peer, refusal, b"no executor here"])
        elif header.type == protocol.Type.UNSUPPORTED:
            self.unsupported.append(protocol.unpack_unsupported(payload).symbol)
            self.socket.send_multipart([peer, frame, b""])


@pytest.fixture
def hellos(tmp_path: Path) -> Iterator[Hellos]:
    thread = Hellos(tmp_path)
    thread.start()
    yield thread
    thread.context.term()
    thread.join()


# ---- exports -------------------------------------------------------------------------------------


@pytest.mark.skipif(shutil.which("nm") is None, reason="needs binutils")
@pytest.mark.parametrize("name", ["libcuda.so.1", "libcuda.so"])
def test_exports_are_exactly_the_driver_api(name: str) -> None:
    path = shim().parent / name
    listing = subprocess.run(
        ["nm", "-D", "--defined-only", "--format=posix", str(path)],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    exported = {line.split()[0] for line in listing.splitlines()}
    assert exported == {f.symbol for f in load()}


@pytest.mark.skipif(shutil.which("readelf") is None, reason="needs binutils")
@pytest.mark.parametrize("name", ["libcuda.so.1", "libcuda.so"])
def test_soname(name: str) -> None:
    dynamic = subprocess.run(
        ["readelf", "-d", str(shim().parent / name)], capture_output=True, text=True, check=True
    ).stdout
    assert "Library soname: [libcuda.so.1]" in dynamic
    assert "libzmq" not in dynamic  # found at run time


def test_both_names_are_one_library(no_daemon: dict[str, str]) -> None:
    assert run("both_names", env=no_daemon) == {"same_table": True, "version": 13000}


# ---- before cuInit -------------------------------------------------------------------------------


def test_look_up_selects_every_symbol(no_daemon: dict[str, str]) -> None:
    """Each symbol is what its base name means at the version that introduced it."""
    rows = [[f.base, f.introduced, 2 if f.suffix else 1, f.symbol] for f in load()]
    assert run("look_up", json.dumps(rows), env=no_daemon) == []


def test_look_up_misses(no_daemon: dict[str, str]) -> None:
    found = run("look_up_misses", env=no_daemon)
    assert found["unknown"] == [NOT_FOUND, None, 1]
    assert found["empty"] == [NOT_FOUND, None, 1]
    assert found["too_old"] == [NOT_FOUND, None, 2]
    assert found["bad_flags"][0] == 1
    assert found["per_thread_of_plain"] == "cuMemAlloc_v2"
    assert found["newer_than_all"] == "cuCtxCreate_v4"


def test_before_init(no_daemon: dict[str, str]) -> None:
    found = run("before_init", env=no_daemon)
    assert found["version"] == 13000
    assert found["count"] == found["context"] == found["alloc"] == NOT_INITIALIZED
    assert found["graph"] == NOT_SUPPORTED
    assert found["names"] == ["CUDA_ERROR_NOT_FOUND", "named symbol not found"]
    assert found["bad_name"] == [1, None]
    assert found["init"] == SYSTEM_NOT_READY


def test_private_tables(no_daemon: dict[str, str]) -> None:
    found = run("private_tables", env=no_daemon)
    assert found["sizes"] == {"cudart": 13, "hooks": 7, "integrity": 3, "tools": 95}
    assert found["null_slots"] == 0
    assert found["refused"] == [NOT_FOUND, None]
    assert found["unknown"] == [0, NOT_SUPPORTED]
    assert found["storage_without_context"] == NOT_INITIALIZED
    words = [(0x3341181C03CB675C, 0x8ED383AA1F4CD1E8), (0x1841181C03CB675C, 0x8ED383AA1F4CD1E8)]
    assert found["fixed"] == [struct.pack("<QQ", *pair).hex() for pair in words]


def test_digest_vectors(tmp_path: Path) -> None:
    """MD2 by the vectors of RFC 1319, HMAC by its definition."""
    source = HERE.parents[1] / "native" / "shim"
    compiler = shutil.which("cc")
    if compiler is None or not source.is_dir():
        pytest.skip("needs a C compiler and a checkout")
    library = tmp_path / "digest.so"
    include = source.parent / "include"
    command = [compiler, "-shared", "-fPIC", "-I", include, source / "digest.c", "-o", library]
    subprocess.run([str(word) for word in command], check=True)
    digest = ctypes.CDLL(str(library))

    def md2(data: bytes) -> bytes:
        state, out = ctypes.create_string_buffer(128), ctypes.create_string_buffer(16)
        digest.shim_md2_start(state)
        for start in range(0, len(data), 7):  # in pieces that do not fit the blocks
            piece = data[start : start + 7]
            digest.shim_md2_add(state, piece, ctypes.c_size_t(len(piece)))
        digest.shim_md2_end(state, out)
        return out.raw

    letters = b"abcdefghijklmnopqrstuvwxyz"
    vectors = {
        b"": "8350e5a3e24c153df2275c9f80692773",
        b"a": "32ec01ec4a6dac72c0ab96fb34c0b5d1",
        b"abc": "da853b0d3f88d99b30283a69e6ded6bb",
        b"message digest": "ab4f496bfb2a530b219ff33031fe06b0",
        letters: "4e8ddff3650292ab5a4108c3aa47940b",
        letters.upper() + letters + b"0123456789": "da33def2a42df13975352846c30338cd",
        b"1234567890" * 8: "d5976f79d83d3a0dc9806c3c66f3efd8",
    }
    assert {text: md2(text).hex() for text in vectors} == vectors

    key, text = bytes(range(16)), b"what is digested"
    state, out = ctypes.create_string_buffer(256), ctypes.create_string_buffer(16)
    digest.shim_hmac_start(state, key)
    digest.shim_hmac_add(state, text, ctypes.c_size_t(len(text)))
    digest.shim_hmac_end(state, out)
    inner = md2(bytes(k ^ 0x36 for k in key) + text)
    assert out.raw == md2(bytes(k ^ 0x5C for k in key) + inner)


# ---- libcudart -----------------------------------------------------------------------------------


def cudart(version: str) -> str:
    path = LIBCUDARTS[version]
    if path is None:
        pytest.skip(f"no libcudart {version}: pip install tally-gpu[test]")
    return str(path)


@pytest.mark.parametrize("version", LIBCUDARTS)
def test_cudart_without_a_daemon(version: str, no_daemon: dict[str, str]) -> None:
    began = time.monotonic()
    found = run("cudart", cudart(version), env=no_daemon)
    assert found["count"] == [SYSTEM_NOT_READY, -1]
    assert time.monotonic() - began < 1.5  # less than one timeout of the control socket


@pytest.mark.parametrize("version", LIBCUDARTS)
def test_cudart_starts(version: str, no_daemon: dict[str, str], hellos: Hellos) -> None:
    """All of libcudart's start-up, its digest check included; the device itself is refused."""
    found = run("cudart", cudart(version), env=no_daemon)
    assert found["count"] == [0, 1]
    assert found["properties"] == [0, "Tiny GPU"]
    assert found["attribute"] == [0, 4]
    assert found["malloc"] == 46  # cudaErrorDevicesUnavailable
    assert found["threads"] == [0] * 8
    assert hellos.unsupported == []


# ---- waiting for tallyd --------------------------------------------------------------------------


def test_programs_wait_while_an_executor_starts(no_daemon: dict[str, str], hellos: Hellos) -> None:
    hellos.delay_s = 3.0
    began_s = time.monotonic()
    assert run("devices", env=no_daemon)["name"] == "Tiny GPU"
    assert time.monotonic() - began_s > 3


@pytest.mark.parametrize("successor", [False, True])
def test_programs_do_not_wait_for_a_tallyd_that_is_gone(
    no_daemon: dict[str, str], tmp_path: Path, successor: bool
) -> None:
    """Nor for the one after it, which was never asked."""
    endpoint = f"ipc://{tmp_path / 'control.sock'}"
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    with context, ThreadPoolExecutor(1) as pool:
        with context.socket(zmq.ROUTER) as first:
            first.bind(endpoint)
            asking = pool.submit(run, "init", env=no_daemon)
            assert first.poll(20_000), "nobody has asked"
        gone_s = time.monotonic()
        with context.socket(zmq.ROUTER) as second:
            if successor:
                second.bind(endpoint)
            assert asking.result(20) == SYSTEM_NOT_READY
        assert time.monotonic() - gone_s < 3


# ---- devices and contexts ------------------------------------------------------------------------


def test_device_facts(no_daemon: dict[str, str], hellos: Hellos) -> None:
    found = run("devices", env=no_daemon)
    assert found["name"] == "Tiny GPU"
    assert found["short_name"] == "Tin"
    assert found["bus_id"] == "0000:01:00.0"
    assert found["by_bus_id"] == [0, 0, 0, 101, 1]
    assert found["uuid"] == bytes(range(16)).hex()
    assert found["total"] == [1 << 33, 2**32 - 1]  # the 32-bit variant is clamped
    # What Tally does not offer is not claimed, though this device has it; unified addressing is.
    assert found["attributes"] == {"41": 1, "83": 0, "102": 0, "115": 0, "16": 4}
    assert found["bad"] == [1, 1, 101, 101]


def test_contexts(no_daemon: dict[str, str], hellos: Hellos) -> None:
    run("contexts", env=no_daemon)


def test_context_storage(no_daemon: dict[str, str], hellos: Hellos) -> None:
    run("storage", env=no_daemon)


def test_forked_child_starts_anew(no_daemon: dict[str, str], hellos: Hellos) -> None:
    assert run("fork", env=no_daemon) == {"before": NOT_INITIALIZED, "init": 0, "count": 0}


def test_null_arguments_never_crash(no_daemon: dict[str, str], hellos: Hellos) -> None:
    rows = [[f.symbol, len(f.params)] for f in load()]
    before, after = run("null_arguments", json.dumps(rows), env=no_daemon)
    assert "cuInit" in before
    # What NULLs may ask for without a context: nothing but these.
    assert {s for s in after if not s.startswith("cuCtx")} == {
        "cuDevicePrimaryCtxReset",
        "cuDevicePrimaryCtxReset_v2",
        "cuDevicePrimaryCtxSetFlags",
        "cuDevicePrimaryCtxSetFlags_v2",
        "cuInit",
        "cuMemFreeHost",
        "cuMemFree_v2",
    }


@pytest.mark.skipif(not NATIVE_SHIM.is_dir(), reason="the shim's sources lie in a checkout only")
def test_stream_work_goes_through_one_door() -> None:
    """What a stream is given to do is submitted to it, not sent on its channel."""
    senders = "send|call|call_begin|call_sync|channel_post|channel_transmit"
    past = re.compile(rf"shim_(?:{senders})\(ref(?:->|\.)channel")
    files = {path.name for path in NATIVE_SHIM.glob("*.c") if past.search(path.read_text())}
    assert files == {"stream_work.c"}


def test_unsupported_calls_are_told(no_daemon: dict[str, str], hellos: Hellos) -> None:
    assert run("unsupported", env=no_daemon) == [NOT_SUPPORTED] * 3
    deadline = time.monotonic() + 10
    while len(hellos.unsupported) < 2 and time.monotonic() < deadline:
        time.sleep(0.01)
    assert set(hellos.unsupported) == {"cuGraphCreate"}
