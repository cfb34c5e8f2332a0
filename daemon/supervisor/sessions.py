"""The life of sessions: hello, open, end. Methods of the handler behind the control socket."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import re
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tally.client import protocol
from tally.client.environment import JOB_AS, JobDescription
from tally.client.protocol import Status

from .. import descriptors, job_stats
from . import processes
from .control import ControlError
from .executor_process import ExecutorProcess, ExecutorUnavailableError
from .jobs import SYMBOLS_MAX, Job, JobTable, Session, UnknownJobError
from .peers import Peer
from .watch import ProcessWatch

log = logging.getLogger("tallyd.sessions")

DESCRIPTORS_PER_SESSION = 4  # its connection, its watch, those of its job

# A function's name, perhaps with what is wrong with its argument, or a slot of a private table.
SYMBOL = re.compile(r"[A-Za-z_][ -~]{0,94}")


class Sessions:
    """Ties the job table to the executors. Lives on the event loop; nothing here blocks."""

    def __init__(
        self,
        table: JobTable,
        executors: Sequence[ExecutorProcess],
        sessions_max: int,
        ready_seconds_max: float,
        place: Callable[[int, str], str] = lambda _pid, _job_class: "",
        memory_max: int = 0,
    ):
        """place: orders a new job's process on the CPU, from its pid and class; what Job.cpu is.

        memory_max: the setting."""
        self.table = table
        self.draining = False
        self.empty = asyncio.Event()  # set while there is no session
        self.empty.set()
        self._executors = executors
        self._sessions_max = sessions_max
        self._ready_seconds_max = ready_seconds_max
        self._place = place
        self._memory_max = memory_max
        self._watches: dict[int, ProcessWatch] = {}  # by session id
        self._root_watches: dict[str, ProcessWatch] = {}  # by job id
        self._successors: dict[tuple[int, str], Job] = {}  # by user and an earlier tallyd's job id
        self._closings: dict[tuple[int, int], asyncio.Event] = {}  # to be opened again, by
        # session id and device

    async def drain(self) -> None:
        """Take no new jobs and sessions, and return once the last session has ended."""
        self.draining = True
        log.info("draining")
        await self.empty.wait()

    # ---- jobs -----------------------------------------------------------------------------------

    def start_job(
        self, peer: Peer, own_nice: bool = False, memory_max: int = 0, **fields: Any
    ) -> Job:
        """A job whose root is the peer's process. ControlError if it cannot be.

        own_nice: on the CPU it is ordered among high jobs, by its niceness.
        memory_max: bytes of each device's memory that it asks for; 0: what the config lets it."""
        if memory_max > self._memory_max > 0:
            raise ControlError(
                Status.REFUSED,
                f"--memory: `memory_max` in tallyd's config lets a job have {self._memory_max} "
                f"bytes of a device's memory, not {memory_max}",
            )
        if self.draining:
            raise ControlError(Status.REFUSED, "tallyd is draining: it takes no new jobs")
        try:
            job = self.table.start(
                uid=peer.uid,
                pid=peer.pid,
                number=peer.number,
                memory_max=memory_max or self._memory_max,
                now_s=time.monotonic(),
                wall_s=time.time(),
                **fields,
            )
        except OverflowError as error:
            raise ControlError(Status.REFUSED, str(error)) from None
        try:
            self._root_watches[job.id] = ProcessWatch(
                peer.watch or peer.pid, lambda: self._root_ended(job)
            )
        except OSError as error:
            self.table.root_ended(job, time.monotonic())
            raise ControlError(Status.REFUSED, _unwatched(error)) from None
        if job.pid:  # 0 would be tallyd itself
            job.cpu = self._place(job.pid, "high" if own_nice else job.job_class)
        log.info("job %s: %s (%s, pid %d)", job.id, job.name, job.job_class, job.pid)
        return job

    def _root_ended(self, job: Job) -> None:
        self._root_watches.pop(job.id, None)
        self.table.root_ended(job, time.monotonic())

    def _job_for(self, peer: Peer, hello: protocol.Hello) -> Job:
        """The job that hello names, else the one that the process descends from, else a new one."""
        if hello.job:
            try:
                return self.table.find(hello.job, peer.uid)
            except UnknownJobError as error:
                if self.table.is_of_another(hello.job):
                    return self._successor(peer, hello)
                raise ControlError(Status.REFUSED, str(error)) from None
        pids = processes.ancestors(peer.pid) if peer.pid else []
        if job := self.table.of_process(pids, peer.uid, peer.number):
            return job
        program = hello.program or (peer.pid and processes.name(peer.pid)) or f"pid {peer.pid}"
        return self.start_job(
            peer,
            name=program[:64],
            job_class="best-effort",
            priority=0,
            weight=1,
            argv=(program,),
            cwd="",
        )

    def _successor(self, peer: Peer, hello: protocol.Hello) -> Job:
        """The job in place of one of an earlier tallyd whose programs live on: as it was asked for.

        All of its programs meet in the same one, whose root is the process of `tally run`.
        """
        job = self._successors.get((peer.uid, hello.job))
        if job is not None and job.running:
            return job
        root, environ = peer.pid, dict[str, str]()
        if peer.pid:  # else it is in a PID namespace that we cannot see into
            root, environ = processes.outermost(peer.pid, "TALLY_JOB", hello.job)
        asked = JobDescription.read(environ.get(JOB_AS, ""))
        asked = asked or JobDescription("best-effort", 0, 1, 0, hello.program or f"pid {peer.pid}")
        job = self.start_job(
            peer if root == peer.pid else Peer(peer.uid, peer.gid, root),
            name=asked.name[:64],
            job_class=asked.job_class,
            priority=asked.priority,
            weight=asked.weight,
            memory_max=min(asked.memory_max, self._memory_max or asked.memory_max),
            argv=(hello.program,),
            cwd="",
        )
        log.info("job %s goes on as job %s", hello.job, job.id)
        self._successors = {k: j for k, j in self._successors.items() if j.running}
        self._successors[peer.uid, hello.job] = job
        return job

    # ---- sessions -------------------------------------------------------------------------------

    async def hello(self, peer: Peer, hello: protocol.Hello) -> bytes:
        """A session, once every executor is ready: its client wants to know all devices."""
        ready = [await self._ready(executor) for executor in self._executors]
        if self.draining:
            raise ControlError(Status.REFUSED, "tallyd is draining: it takes no new sessions")
        self._forget_replaced(peer)
        if len(self.table.sessions) >= self._sessions_max:
            text = (
                f"there are {self._sessions_max} sessions already; see `sessions_max` in the config"
            )
            raise ControlError(Status.REFUSED, text)
        self._require_descriptors()
        session = self.table.open_session(
            self._job_for(peer, hello), peer.pid, peer.uid, peer.gid, hello.program, peer.number
        )
        self.empty.clear()
        try:
            self._watches[session.id] = ProcessWatch(
                peer.watch or peer.pid, lambda: self._exited(session)
            )
        except OSError as error:
            self._close(session)
            raise ControlError(Status.REFUSED, _unwatched(error)) from None
        bytes_max = session.job.memory_max
        devices = [
            protocol.with_device_memory(child_ready["device_info"], bytes_max)
            for child_ready in ready
        ]
        version = min(int(child_ready["driver_version"]) for child_ready in ready)
        return protocol.pack_hello_reply(session.id, devices, version)

    def _require_descriptors(self) -> None:
        """ControlError long before there are none left to tell anybody with."""
        free = descriptors.free()
        if free < DESCRIPTORS_PER_SESSION + descriptors.KEPT_FOR_REFUSALS:
            text = (
                f"tallyd may open only {free} more file descriptors, and one more session could "
                "take the last; see `descriptors_max` in the config"
            )
            raise ControlError(Status.REFUSED, text)

    async def _ready(self, executor: ExecutorProcess) -> Mapping[str, Any]:
        try:
            async with asyncio.timeout(self._ready_seconds_max):
                return await executor.wait_ready()
        except TimeoutError:
            seconds = f"{self._ready_seconds_max:g} s (executor_ready_seconds_max)"
            reason = executor.last_failure or f"it is still starting after {seconds}"
        except ExecutorUnavailableError as error:
            reason = str(error)
        text = f"the executor of device {executor.index} is not ready: {reason}"
        raise ControlError(Status.UNAVAILABLE, text)

    def _forget_replaced(self, peer: Peer) -> None:
        """A process says hello again after exec, which keeps its pid: what it was before is gone.

        Sessions with an open device stay, until their executor sees the connection end.
        """
        for session in list(self.table.sessions.values()):
            if peer.is_same(session.pid, session.number) and not session.devices:
                self._close(session)

    async def open(self, peer: Peer, request: protocol.Open) -> bytes:
        """Open the session on a device. Only the process that said hello may.

        Once more where it is open: the client could not connect to what it was told before.
        """
        session = self.table.sessions.get(request.session)
        if session is None or session.exited or not _owns(peer, session):
            raise ControlError(Status.REFUSED, "the session does not belong to this process")
        if request.device >= len(self._executors):
            raise ControlError(Status.BAD_MESSAGE, f"there is no device {request.device}")
        executor = self._executors[request.device]
        await self._ready(executor)
        if request.device in session.devices:
            await self._close_first(session, request.device)
        if request.device in session.devices or session.exited:  # changed while waiting
            raise ControlError(
                Status.REFUSED, "the session has ended or opened the device meanwhile"
            )
        session.devices[request.device] = job_stats.empty()
        # A program may change its user after hello, and connects as what it is by now.
        now = processes.user(session.pid) if session.pid else None
        uid, gid = now or (session.uid, session.gid)
        try:
            answer = await executor.request(
                "open",
                session=session.id,
                pid=session.pid,
                uid=uid,
                gid=gid,
                process=session.number,
                job=session.job.for_executor(),
            )
            return _open_reply(answer)
        except (ExecutorUnavailableError, TimeoutError, KeyError, TypeError, ValueError) as error:
            executor.tell("close", session=session.id)
            self._device_closed(session, request.device, None, over=session.exited)
            text = str(error) or "the executor does not answer"
            raise ControlError(Status.UNAVAILABLE, f"device {request.device}: {text}") from None

    async def _close_first(self, session: Session, device: int) -> None:
        closed = self._closings.setdefault((session.id, device), asyncio.Event())
        self._executors[device].tell("close", session=session.id)
        try:
            async with asyncio.timeout(self._ready_seconds_max):
                await closed.wait()
        except TimeoutError:
            text = f"device {device} is open already, and the executor does not close it"
            raise ControlError(Status.UNAVAILABLE, text) from None
        finally:
            self._closings.pop((session.id, device), None)
        if session.id not in self.table.sessions:
            text = f"the session has ended with the executor of device {device}"
            raise ControlError(Status.UNAVAILABLE, text)

    async def unsupported(self, peer: Peer, report: protocol.Unsupported) -> bytes:
        """Remember the process's count so far."""
        if not SYMBOL.fullmatch(report.symbol):
            raise ControlError(Status.BAD_MESSAGE, "not a symbol's name")
        for session in self.table.sessions.values():
            counts = session.unsupported
            if _owns(peer, session) and (report.symbol in counts or len(counts) < SYMBOLS_MAX):
                counts[report.symbol] = report.calls
                break
        return b""

    # ---- ends -----------------------------------------------------------------------------------

    def _exited(self, session: Session) -> None:
        """The process is gone. Its executors may have noticed or not; closing twice is harmless."""
        session.exited = True
        self._watches.pop(session.id, None)
        for device in session.devices:
            self._executors[device].tell("close", session=session.id)
        if not session.devices:
            self._close(session)

    def _close(self, session: Session) -> None:
        if session.id not in self.table.sessions:
            return  # lost with its executor while its open was failing
        if watch := self._watches.pop(session.id, None):
            watch.close()
        self.table.close_session(session, time.monotonic())
        if not self.table.sessions:
            self.empty.set()

    def _device_closed(
        self,
        session: Session,
        device: int,
        final: dict[str, Any] | None,
        lost: bool = False,
        over: bool = True,
    ) -> None:
        """A session ends with its last device; one whose open failed (not over) may try again."""
        self.table.close_device(session, device, final, lost)
        if again := self._closings.get((session.id, device)):
            again.set()
            over = lost or session.exited
        if over and not session.devices:
            self._close(session)

    def executor_event(self, index: int, event: Mapping[str, Any]) -> None:
        """closed, fault, notice or stats, from the executor of device index."""
        kind = event.get("event")
        if kind == "stats":
            self.update_stats(index, event.get("sessions", {}))
            return
        session = self.table.sessions.get(event.get("session", 0))
        if session is None:
            return
        where = f"job {session.job.id} ({session.job.name}), pid {session.pid}, device {index}"
        if kind == "fault":
            log.warning("%s: %s: %s", where, event.get("error"), event.get("detail", ""))
            if event.get("lost"):  # the device's context is gone for every session
                text = f"session {session.id} of {where}: {event.get('detail', '')}"
                self._executors[index].blame(text)
        elif kind == "notice":
            log.info("%s: %s", where, event.get("text", ""))
            session.job.note(str(event.get("text", "")))
        elif kind == "closed":
            log.debug("%s: session %d closed: %s", where, session.id, event.get("reason", ""))
            self._device_closed(session, index, event.get("stats"))

    def update_stats(self, index: int, latest: Mapping[str, Any]) -> None:
        """Note what sessions have counted so far; latest is by session id, as text."""
        for number, values in latest.items():
            session = self.table.sessions.get(int(number))
            if session and index in session.devices:
                session.devices[index] = values

    def executor_lost(self, index: int, reason: str) -> None:
        """The executor died, and its sessions with it."""
        lost = [session for session in self.table.sessions.values() if index in session.devices]
        for session in lost:
            log.error(
                "device %d: session %d of job %s (%s, pid %d) is lost: %s",
                *(index, session.id, session.job.id, session.job.name, session.pid, reason),
            )
            self._device_closed(session, index, None, lost=True)

    def close(self) -> None:
        """Stop watching processes."""
        for watch in [*self._watches.values(), *self._root_watches.values()]:
            watch.close()


def _owns(peer: Peer, session: Session) -> bool:
    return peer.is_same(session.pid, session.number) and peer.uid == session.uid


def _unwatched(error: OSError) -> str:
    """Why a process cannot be watched."""
    if error.errno == errno.ESRCH:
        return "the process has ended"
    return f"tallyd cannot watch the process: {error.strerror}"


def _open_reply(answer: Mapping[str, Any]) -> bytes:
    # Names alone: the client's mounts may show the folder at another path.
    return protocol.pack_open_reply(
        os.path.basename(str(answer["ops"])),
        os.path.basename(str(answer["replies"])),
        os.path.basename(str(answer["segment"])),
        answer["segment_bytes"],
        answer["slot_count"],
        answer["slot_bytes"],
        answer["device_region_base"],
        answer["device_region_bytes"],
    )
