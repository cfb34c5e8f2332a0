"""A seeded fuzzer of both of Tally's sockets.

    cd tests && python -m support.fuzz --messages 1000000 --seed 1

After every batch two other programs must still compute, one of each class, tallyd must answer, and
nobody may hold more files, threads or shared memory than before. A failure prints the seed that
replays it.
"""

from __future__ import annotations

import argparse
import contextlib
import mmap
import os
import sys
import time
from pathlib import Path
from random import Random

import zmq

from tally.client import paths, protocol
from tally.client.protocol import Status, Type

from . import hostile, toolchain
from .daemon import Daemon, read_line, wait_until
from .watching import Holdings, shared_memory_files

PROGRAMS = Path(__file__).parents[1] / "soft" / "programs"
CLASSES = ("high", "best-effort")  # of the fuzzed sessions, and of the programs beside them
CONTROL_BATCH = 500
OPS_BATCH = 200
# Shares of a data session's messages; most framed lies and every broken message end the session.
PLAUSIBLE_SHARE, FRAMED_SHARE = 0.98, 0.015


class ControlPeer:
    """A raw connection to the control socket."""

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], runtime_dir: Path) -> None:
        self.socket = context.socket(zmq.DEALER)
        self.socket.linger = 0
        self.socket.connect(f"ipc://{paths.control_socket(runtime_dir)}")
        self.sequence = 0

    def ask(self, kind: Type, payload: bytes) -> tuple[int, bytes]:
        """Status and payload of the reply. AssertionError if none comes."""
        self.sequence += 1
        wanted = self.sequence
        self.socket.send_multipart(
            [protocol.Header(protocol.VERSION, kind, wanted, 0).pack(), payload]
        )
        while self.socket.poll(10_000):
            header, *rest = self.socket.recv_multipart()
            reply = protocol.unpack_header(header)
            if (reply.sequence, reply.type) == (wanted, kind):
                return reply.status, rest[0]
        raise AssertionError("tallyd does not answer")

    def drain(self) -> None:
        while self.socket.poll(0):
            self.socket.recv_multipart()


class DataSession:
    """A session whose client is the fuzzer, of one of its jobs."""

    def __init__(
        self, context: zmq.Context[zmq.Socket[bytes]], runtime_dir: Path, job: str
    ) -> None:
        self.control = ControlPeer(context, runtime_dir)
        hello = protocol.pack_hello(protocol.Hello(os.getpid(), 13000, job, "fuzz"))
        status, body = self.control.ask(Type.HELLO, hello)
        assert status == Status.OK, body
        (session, _, _) = protocol.HELLO_REPLY.unpack_from(body)
        status, body = self.control.ask(Type.OPEN, protocol.OPEN.pack(session, 0, 0))
        assert status == Status.OK, body
        ops, replies, segment, size, self.slots, _, self.region, _ = protocol.OPEN_REPLY.unpack(
            body
        )
        self.ops, self.replies = context.socket(zmq.PUSH), context.socket(zmq.PULL)
        for socket, endpoint in ((self.ops, ops), (self.replies, replies)):
            socket.linger = 0
            socket.sndtimeo = 100
            socket.connect(endpoint.rstrip(b"\0").decode())
        file = os.open(segment.rstrip(b"\0").decode(), os.O_RDWR)
        self.page = mmap.mmap(file, size)
        os.close(file)

    @property
    def closed(self) -> bool:
        """The executor has ended the session."""
        return self.page[12] == 1

    def send(self, message: bytes) -> bool:
        """False if the session takes no more."""
        try:
            self.ops.send(message)
        except zmq.Again:
            return False
        return True

    def drain(self, liar: hostile.Liar) -> None:
        while self.replies.poll(0):
            liar.learn(self.replies.recv())

    def close(self) -> None:
        for socket in (self.ops, self.replies, self.control.socket):
            socket.close(linger=0)
        with contextlib.suppress(BufferError):
            self.page.close()


class Fuzzer:
    """Sends batches, and checks after each that everybody else is well."""

    def __init__(self, daemon: Daemon, seed: int) -> None:
        self.daemon, self.seed, self.random = daemon, seed, Random(seed)
        self.context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        program = toolchain.compile_c(PROGRAMS / "pulse.c")
        self.pulses = [
            daemon.start(program, job_class=kind, name=f"{kind} pulse") for kind in CLASSES
        ]
        for pulse in self.pulses:
            read_line(pulse, "ready")
        with daemon.client() as client:
            self.jobs = [client.start_job(["fuzz"], f"{kind} fuzz", kind) for kind in CLASSES]
        self.sent = 0

    def close(self) -> None:
        for pulse in self.pulses:
            pulse.kill()
            pulse.communicate()
        self.context.destroy(linger=0)

    def fuzz_control(self, messages: int) -> None:
        peer = ControlPeer(self.context, self.daemon.runtime_dir)
        for _ in range(messages):
            peer.socket.send_multipart(hostile.control_message(self.random))
            peer.drain()
        peer.ask(Type.REQUEST, b'{"op": "ping"}')
        peer.socket.close(linger=0)
        self.sent += messages

    def fuzz_ops(self, messages: int) -> None:
        session = DataSession(self.context, self.daemon.runtime_dir, self.random.choice(self.jobs))
        drains = self.random.random() < 0.8
        liar = hostile.Liar(self.random, session.region, session.slots)
        for message in hostile.preamble():
            session.send(message)
        if drains and session.replies.poll(1000):
            session.drain(liar)
        for _ in range(messages):
            if not session.send(self.op(liar)) or session.closed:
                break
            self.sent += 1
            if drains:
                session.drain(liar)
        # Half of them leave politely or are told to; the others just go.
        if self.random.random() < 0.5:
            session.send(hostile.broken_op(self.random, session.region)[:7])
        else:
            session.send(hostile.OP_HEADER.pack(1, 0, 16, 0))
        session.close()

    def op(self, liar: hostile.Liar) -> bytes:
        choice = self.random.random()
        if choice < PLAUSIBLE_SHARE:
            return liar.op()
        if choice < PLAUSIBLE_SHARE + FRAMED_SHARE:
            return hostile.framed_op(self.random, liar.region)
        return hostile.broken_op(self.random, liar.region)

    def check(self) -> None:
        """The other sessions compute, tallyd and the executor live."""
        for pulse in self.pulses:
            assert pulse.stdin is not None
            pulse.stdin.write(f"{self.random.randint(1, 99)}\n")
            pulse.stdin.flush()
        for pulse in self.pulses:
            read_line(pulse, "ok")
        assert self.daemon.process.poll() is None, self.daemon.log()[-3000:]

    def settle(self) -> None:
        """Wait until the fuzzer's own sessions are gone: only the pulses' are left."""

        def alone() -> bool:
            return int(self.daemon.stats()["devices"][0]["sessions"]) <= len(self.pulses)

        wait_until(alone, 10, "the fuzzed sessions end")

    def holdings(self) -> list[Holdings]:
        pids = [self.daemon.process.pid, *self.daemon.executor_pids()]
        return [Holdings.of(pid) for pid in pids]


def run(daemon: Daemon, messages: int, seed: int, tell: bool = False) -> int:
    """Send about `messages` messages, half to each socket; how many were sent. AssertionError."""
    fuzzer = Fuzzer(daemon, seed)
    executors = daemon.executor_pids()
    began = time.monotonic()
    try:
        before: list[Holdings] = []
        while fuzzer.sent < messages:
            fuzzer.fuzz_control(min(CONTROL_BATCH, messages))
            target = fuzzer.sent + CONTROL_BATCH
            while fuzzer.sent < min(target, messages):
                fuzzer.fuzz_ops(OPS_BATCH)
            fuzzer.check()
            assert daemon.executor_pids() == executors, f"an executor died:\n{daemon.log()[-3000:]}"
            if not before and fuzzer.sent >= messages / 3:
                fuzzer.settle()
                before = fuzzer.holdings()
            if tell and fuzzer.sent % 20_000 < 2 * CONTROL_BATCH:
                print(f"{fuzzer.sent} messages, {time.monotonic() - began:.0f} s", flush=True)
        fuzzer.settle()
        for old, new in zip(before, fuzzer.holdings(), strict=True):
            assert new.files <= old.files + 4, f"open files: {old} -> {new}"
            assert new.threads <= old.threads + 2, f"threads: {old} -> {new}"
            growth = new.resident_bytes - old.resident_bytes
            assert growth < (64 << 20) + messages * 64, f"memory: {old} -> {new}"
        ours = f".{daemon.process.pid}."
        assert not [name for name in shared_memory_files() if ours in name]
    except AssertionError as error:
        raise AssertionError(f"seed {seed}, after {fuzzer.sent} messages: {error}") from error
    finally:
        fuzzer.close()
    return fuzzer.sent


def main() -> int:
    parser = argparse.ArgumentParser(description="Fuzz both sockets of a tallyd of its own.")
    parser.add_argument("--messages", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    options = parser.parse_args()
    print(f"seed {options.seed}", flush=True)
    with Daemon() as daemon:
        sent = run(daemon, options.messages, options.seed, tell=True)
    print(f"{sent} messages; everybody is well")
    return 0


if __name__ == "__main__":
    sys.exit(main())
