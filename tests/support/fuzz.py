"""A seeded fuzzer of Tally's sockets: tallyd's, and those of the executor's sessions.

    cd tests && python -m support.fuzz --messages 1000000 --seed 1

After every batch two other programs must still compute, one of each class, tallyd must answer, and
nobody may hold more files, threads or shared memory than before. Messages count once they have been
taken, not when they are sent: of a session that is ended, all that it still sent is lost. A failure
prints the seed that replays it.
"""

from __future__ import annotations

import argparse
import contextlib
import mmap
import os
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path
from random import Random

import zmq

from tally.client import paths, protocol
from tally.client.protocol import Status, Type

from . import hostile, hostile_requests, toolchain
from .daemon import Daemon, read_line, wait_until
from .watching import Holdings

PROGRAMS = Path(__file__).parents[1] / "soft" / "programs"
CLASSES = ("high", "best-effort")  # of the fuzzed sessions, and of the programs beside them
CONTROL_BATCH = 500
UNREAD_MAX = 100  # control messages whose answers are not read: tallyd drops some of them
OPS_BATCH = 200
ANSWER_MS_MAX = 30_000
AGAIN_MS = 1000  # an answer that does not come by then was dropped, if many were due at once
# Shares of a data session's messages; most framed lies and every broken message end the session.
PLAUSIBLE_SHARE, FRAMED_SHARE = 0.98, 0.015
# How long a session may take nothing off its socket: one of its ops may wait for what never comes.
STALL_SECONDS = 0.2
TELL_SECONDS = 10
# What is kept of kernels for as long as the executor lives has a bound, and comes page by page.
GROWTH_BYTES_MAX = 32 << 20
ABRUPT_SHARE = 0.2  # of the sessions: their client goes while messages are on their way
STRANGER_SHARE = 0.2  # of the sessions: somebody else connects to their sockets as well
STRANGERS_MAX = 20  # connections at once
# A session whose place a stranger has taken waits for its client for 30 s, as the protocol says.
SETTLE_SECONDS = 45


class ControlPeer:
    """A raw connection to the control socket."""

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], runtime_dir: Path) -> None:
        self.socket = context.socket(zmq.DEALER)
        self.socket.linger = 0
        self.socket.connect(f"ipc://{paths.control_socket(runtime_dir)}")
        self.sequence = 0

    def ask(self, kind: Type, payload: bytes) -> tuple[int, bytes]:
        """Status and payload of the reply. AssertionError if none comes."""
        if answer := self._answer(self._send(kind, payload), kind, ANSWER_MS_MAX):
            return answer
        raise AssertionError("tallyd does not answer")

    def settle(self) -> None:
        """Until tallyd is through with what was sent. AssertionError if that does not come."""
        until_s = time.monotonic() + ANSWER_MS_MAX / 1000
        while time.monotonic() < until_s:
            sequence = self._send(Type.REQUEST, b'{"op": "ping"}')
            if self._answer(sequence, Type.REQUEST, AGAIN_MS):
                return
        raise AssertionError("tallyd does not answer any more")

    def _send(self, kind: Type, payload: bytes) -> int:
        self.sequence += 1
        header = protocol.Header(protocol.VERSION, kind, self.sequence, 0).pack()
        self.socket.send_multipart([header, payload])
        return self.sequence

    def _answer(self, sequence: int, kind: Type, ms_max: int) -> tuple[int, bytes] | None:
        while self.socket.poll(ms_max):
            header, *rest = self.socket.recv_multipart()
            reply = protocol.unpack_header(header)
            if (reply.sequence, reply.type) == (sequence, kind):
                return reply.status, rest[0]
        return None


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
        names = [name.rstrip(bytes(1)).decode() for name in (ops, replies, segment)]
        self.paths = [f"{runtime_dir}/{name}" for name in names]
        self.ops, self.replies = context.socket(zmq.PUSH), context.socket(zmq.PULL)
        for one, path in zip((self.ops, self.replies), self.paths, strict=False):
            one.linger = 0
            one.sndtimeo = 100
            one.connect(f"ipc://{path}")
        self.memory = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.memory.connect(self.paths[2])
        (file,) = socket.recv_fds(self.memory, 64, 1)[1]
        self.memory.setblocking(False)
        self.page = mmap.mmap(file, size)
        os.close(file)

    @property
    def closed(self) -> bool:
        """The executor has ended the session."""
        return self.page[12] == 1

    @property
    def handled(self) -> int:
        """Ops that the executor has taken off the socket."""
        return int.from_bytes(self.page[16:24], "little")

    def wait_handled(self, count: int, between: Callable[[], None]) -> None:
        """Until so many ops were taken, the session was ended, or it has stalled."""
        handled, moved_s = 0, time.monotonic()
        while handled < count and not self.closed and time.monotonic() - moved_s < STALL_SECONDS:
            between()
            time.sleep(0.0005)
            if self.handled > handled:
                handled, moved_s = self.handled, time.monotonic()

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

    def take_memory(self) -> None:
        """The files of pinned memory that were handed over."""
        with contextlib.suppress(OSError):
            while files := socket.recv_fds(self.memory, 64, 4)[1]:
                for file in files:
                    os.close(file)

    def talk_back(self, random: Random) -> None:
        """Send bytes and descriptors to where only the executor has something to say."""
        for _ in range(random.choice((1, 3, 50))):
            data = random.randbytes(random.choice((0, 1, 24, 4096)))
            files = [0, 2][: random.randrange(3)]
            with contextlib.suppress(OSError):
                socket.send_fds(self.memory, [data], files)

    def close(self) -> None:
        self.memory.close()
        for one in (self.ops, self.replies, self.control.socket):
            one.close(linger=0)
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
        self.taken = self.taken_ops = self.sessions = self.stalled = 0

    def close(self) -> None:
        for pulse in self.pulses:
            pulse.kill()
            pulse.communicate()
        self.context.destroy(linger=0)

    def fuzz_control(self, messages: int) -> None:
        peer = ControlPeer(self.context, self.daemon.runtime_dir)
        for number in range(1, messages + 1):
            peer.socket.send_multipart(hostile_requests.control_message(self.random))
            if number % UNREAD_MAX == 0 or number == messages:
                peer.settle()
        peer.socket.close(linger=0)
        self.taken += messages

    def fuzz_ops(self, messages: int) -> None:
        session = DataSession(self.context, self.daemon.runtime_dir, self.random.choice(self.jobs))
        drains = self.random.random() < 0.8
        # One takes the memory that it asks for, one takes none, one has hung up, one talks itself.
        manners = self.random.choice(("takes", "takes", "takes", "leaves", "hangs up", "talks"))
        if manners == "hangs up":
            session.memory.close()
        elif manners == "talks":
            session.talk_back(self.random)
        if self.random.random() < STRANGER_SHARE:
            self.connect_as_stranger(session.paths)
        liar = hostile.Liar(self.random, session.region, session.slots)
        self.sessions += 1
        sent = 0
        for message in hostile.preamble():
            sent += session.send(message)
        if drains and session.replies.poll(1000):
            session.drain(liar)
        for _ in range(messages):
            if session.closed or not session.send(self.op(liar)):
                break
            sent += 1
            if drains:
                session.drain(liar)
            if manners == "takes":
                session.take_memory()
        if self.random.random() >= ABRUPT_SHARE:
            session.wait_handled(sent, lambda: session.drain(liar) if drains else None)
            self.stalled += session.handled < sent and not session.closed
        # Half of them leave politely or are told to; the others just go.
        if self.random.random() < 0.5:
            session.send(hostile.broken_op(self.random, session.region)[:7])
        else:
            session.send(hostile.OP_HEADER.pack(1, 0, 16, 0))
        self.taken += session.handled
        self.taken_ops += session.handled
        session.close()

    def connect_as_stranger(self, session_paths: list[str]) -> None:
        """Plain connections, which say nothing or what libzmq does not expect, and break off."""
        control = str(paths.control_socket(self.daemon.runtime_dir))
        held = []
        for _ in range(self.random.randrange(1, STRANGERS_MAX)):
            path = self.random.choice([control, *session_paths])
            kind = socket.SOCK_SEQPACKET if path == session_paths[2] else socket.SOCK_STREAM
            held.append(socket.socket(socket.AF_UNIX, kind | socket.SOCK_NONBLOCK))
            with contextlib.suppress(OSError):
                held[-1].connect(path)
                greeting = self.random.choice((b"\xff" + bytes(8) + b"\x7f\x03", b"", b"\0"))
                noise = self.random.randbytes(self.random.choice((0, 1, 53, 1000)))
                socket.send_fds(held[-1], [greeting + noise], [0][: self.random.randrange(2)])
        for one in held:
            one.close()

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

        wait_until(alone, SETTLE_SECONDS, "the fuzzed sessions end")

    def progress(self) -> str:
        resident = [held.resident_bytes >> 10 for held in self.holdings()]
        return (
            f"{self.taken} messages, {self.taken_ops} of them ops of {self.sessions} sessions "
            f"({self.stalled} stalled), resident KiB {resident}"
        )

    def holdings(self) -> list[Holdings]:
        pids = [self.daemon.process.pid, *self.daemon.executor_pids()]
        return [Holdings.of(pid) for pid in pids]


def run(daemon: Daemon, messages: int, seed: int, tell: bool = False) -> int:
    """Send about `messages` messages, half to each socket; how many were taken. AssertionError."""
    fuzzer = Fuzzer(daemon, seed)
    executors = daemon.executor_pids()
    began_s = told_s = time.monotonic()
    try:
        before: list[Holdings] = []
        while fuzzer.taken < messages:
            fuzzer.fuzz_control(min(CONTROL_BATCH, messages))
            target = fuzzer.taken + CONTROL_BATCH
            while fuzzer.taken < min(target, messages):
                fuzzer.fuzz_ops(OPS_BATCH)
            fuzzer.check()
            assert daemon.executor_pids() == executors, f"an executor died:\n{daemon.log()[-3000:]}"
            if not before and fuzzer.taken >= messages / 3:
                fuzzer.settle()
                before = fuzzer.holdings()
            if tell and time.monotonic() > told_s + TELL_SECONDS:
                told_s = time.monotonic()
                print(f"{fuzzer.progress()}, {told_s - began_s:.0f} s", flush=True)
        fuzzer.settle()
        after = fuzzer.holdings()
        if tell:
            print(f"{fuzzer.progress()}, {time.monotonic() - began_s:.0f} s")
            print("tallyd, executor after a third:", *before, "\nand at the end:", *after)
        for old, new in zip(before, after, strict=True):
            assert new.files <= old.files + 4, f"open files: {old} -> {new}"
            assert new.threads <= old.threads + 2, f"threads: {old} -> {new}"
            growth = new.resident_bytes - old.resident_bytes
            assert growth < GROWTH_BYTES_MAX, f"memory: {old} -> {new}"
    except AssertionError as error:
        what = f"seed {seed}, after {fuzzer.taken} messages: {error}\n{daemon.log()[-3000:]}"
        raise AssertionError(what) from error
    finally:
        fuzzer.close()
    return fuzzer.taken


def main() -> int:
    parser = argparse.ArgumentParser(description="Fuzz both sockets of a tallyd of its own.")
    parser.add_argument("--messages", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    options = parser.parse_args()
    print(f"seed {options.seed}", flush=True)
    with Daemon() as daemon:
        taken = run(daemon, options.messages, options.seed, tell=True)
    print(f"{taken} messages; everybody is well")
    return 0


if __name__ == "__main__":
    sys.exit(main())
