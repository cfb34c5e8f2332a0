"""Recordings of real runs as scenarios for the simulator.

Every session becomes a client. A request is a program: its launches, the session's own time between
them, and the wait at its end. A high session's requests arrive when they did; a best-effort
session begins the next one when it is through with the last, its pauses included. Kernels take what
they took: the distribution of their measured times is drawn from, not the single times.

What a recording does not hold: several streams of one session run as one, copies count as the
session's own time, and times that were recorded while other jobs ran are as long as those made
them. So jobs are best recorded alone, and put together from several files.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from tally.scheduler.core import JobClass
from tally.scheduler.plans import Ability
from tally.scheduler.sim.files import TraceError
from tally.scheduler.sim.model import QUANTILES, SYNC, Client, Device, Kernel, Op, Scenario
from tally.scheduler.sim.recording import KernelShape, Launch, Recording, Request, Session

SAMPLES_MIN = 8  # of a latency, before its measurement counts
CLASSES = {"high": JobClass.HIGH, "best-effort": JobClass.BEST_EFFORT}


@dataclass(frozen=True)
class Program:
    """Launches that belong together, from their first work to the return of the wait for them.

    end_ns 0: the session was not seen to wait.
    """

    begin_ns: int
    end_ns: int
    launches: Sequence[Launch]

    @property
    def device_end_ns(self) -> int:
        """When its launches had run, as far as that is known."""
        return max(launch.end_ns or launch.issue_ns for launch in self.launches)


def programs_of(launches: Sequence[Launch], requests: Sequence[Request]) -> list[Program]:
    """One session's launches by request; what lies between two requests makes a program too."""
    programs: list[Program] = []
    left = sorted(launches, key=lambda launch: launch.submit_ns)
    at = 0
    for request in sorted(requests, key=lambda request: request.submit_ns):
        first = at
        while at < len(left) and left[at].submit_ns < request.submit_ns:
            at += 1
        if at > first:
            programs.append(Program(left[first].submit_ns, 0, left[first:at]))
        first = at
        while at < len(left) and left[at].submit_ns <= request.end_ns:
            at += 1
        if at > first:
            programs.append(Program(request.submit_ns, request.end_ns, left[first:at]))
    if at < len(left):
        programs.append(Program(left[at].submit_ns, 0, left[at:]))
    return programs


# ---- the device ----------------------------------------------------------------------------------


def _median(samples: Sequence[int], otherwise: int) -> int:
    return int(np.median(samples)) if len(samples) >= SAMPLES_MIN else otherwise


def _streams(recording: Recording) -> Iterable[list[Launch]]:
    by_stream: dict[tuple[int, int], list[Launch]] = defaultdict(list)
    for launch in recording.launches:
        if launch.timed:
            by_stream[launch.session, launch.stream].append(launch)
    for launches in by_stream.values():
        yield sorted(launches, key=lambda launch: launch.submit_ns)


def device_of(recording: Recording, programs: Iterable[Program]) -> Device:
    """The device's size, and the latencies that the recording shows; others are the model's."""
    device = Device(sms=int(recording.device["sms"]))
    if recording.device["times"] != "reported":
        # Measured from outside, a kernel's time holds the way there and back.
        return replace(device, launch_ns=0, gap_ns=0, completion_ns=0, reply_ns=0)
    starts: list[int] = []
    gaps: list[int] = []
    for launches in _streams(recording):
        for before, launch in zip([None, *launches], launches, strict=False):
            whole = launch.starts == 1 and launch.start_ns >= launch.issue_ns
            if whole and (before is None or before.end_ns <= launch.issue_ns):
                starts.append(launch.start_ns - launch.issue_ns)
            elif whole and before is not None and before.end_ns <= launch.start_ns:
                gaps.append(launch.start_ns - before.end_ns)
    ways = [p.end_ns - p.device_end_ns for p in programs if p.end_ns > p.device_end_ns]
    way_ns = device.completion_ns + device.reply_ns
    if len(ways) >= SAMPLES_MIN:  # a low one: others hold copies of results as well
        way_ns = int(np.quantile(ways, 0.1))
    completion_ns = min(device.completion_ns, way_ns // 2)
    return replace(
        device,
        launch_ns=_median(starts, device.launch_ns),
        gap_ns=_median(gaps, device.gap_ns),
        completion_ns=completion_ns,
        reply_ns=way_ns - completion_ns,
    )


# ---- kernels -------------------------------------------------------------------------------------


def kernel_of(
    shape: KernelShape, launches: Sequence[Launch], device: Device, prefix: str
) -> Kernel:
    """A kernel whose blocks take what the launches took; a nanosecond where that is not known."""
    kernel = Kernel(
        name=f"{prefix}.{shape.name or shape.signature}",
        blocks=min(shape.blocks, 2**31 - 1),
        blocks_per_sm=min(max(1, shape.blocks_per_sm), device.units_per_sm),
        block_ns=1,
        sigma=0.0,
        spread=0.0,
        abilities=Ability(shape.abilities),
    )
    timed = [launch for launch in launches if launch.timed and launch.device_ns > 0]
    # What ran in one piece says best how long the kernel takes.
    whole = [launch for launch in timed if launch.starts == 1] or timed
    if not whole:
        return kernel
    waves = -(-kernel.blocks // kernel.resident(device))
    times = np.array([launch.device_ns for launch in whole], dtype=float) / waves
    places = (np.arange(QUANTILES) + 0.5) / QUANTILES
    samples = np.maximum(1, np.quantile(times, places).round()).astype(int)
    return replace(
        kernel, block_ns=max(1, round(float(samples.mean()))), samples=tuple(samples.tolist())
    )


# ---- clients -------------------------------------------------------------------------------------


def _ops(program: Program, numbers: dict[int, int], device: Device, next_ns: int) -> list[Op]:
    """next_ns: when the session's next program begins, if that counts; 0: it does not."""
    ops = []
    free_ns = program.begin_ns
    for launch in program.launches:
        ops.append(Op(numbers[launch.kernel], max(0, launch.submit_ns - free_ns)))
        free_ns = launch.released_ns
    if not program.end_ns:
        # No wait was seen: the session goes on at once, or the recording ended.
        return [*ops, Op(SYNC, max(0, next_ns - free_ns))] if next_ns else ops
    back_ns = program.device_end_ns + device.completion_ns + device.reply_ns
    return [*ops, Op(SYNC, max(0, max(program.end_ns, next_ns) - back_ns))]


def client_of(
    session: Session,
    name: str,
    programs: Sequence[Program],
    numbers: dict[int, int],
    device: Device,
) -> Client:
    """One session as a client; numbers are its kernels' in the scenario."""
    job_class = CLASSES[session.job_class]
    high = job_class is JobClass.HIGH
    begins = [program.begin_ns for program in programs]
    ends = [0] * len(begins) if high else [*begins[1:], 0]
    return Client(
        name=name,
        job_class=job_class,
        programs=[
            tuple(_ops(program, numbers, device, next_ns))
            for program, next_ns in zip(programs, ends, strict=True)
        ],
        arrivals=begins if high else None,
        priority=session.priority,
        weight=session.weight,
        seed=session.session,
        job=session.job,
    )


def scenario_of(recording: Recording) -> Scenario:
    """All sessions that launched something. Raises ValueError if none did."""
    launches: dict[int, list[Launch]] = defaultdict(list)
    requests: dict[int, list[Request]] = defaultdict(list)
    for launch in recording.launches:
        launches[launch.session].append(launch)
    for request in recording.requests:
        requests[request.session].append(request)
    if not launches:
        raise ValueError("no launch was recorded")
    programs = {
        number: programs_of(launches[number], requests[number]) for number in sorted(launches)
    }
    device = device_of(recording, (p for several in programs.values() for p in several))
    kernels: list[Kernel] = []
    clients: list[Client] = []
    for number, its_programs in programs.items():
        session = recording.sessions[number]
        by_kernel: dict[int, list[Launch]] = defaultdict(list)
        for launch in launches[number]:
            by_kernel[launch.kernel].append(launch)
        numbers = {kernel: len(kernels) + at for at, kernel in enumerate(by_kernel)}
        for kernel, its_launches in by_kernel.items():
            shape = recording.kernels[kernel]
            kernels.append(kernel_of(shape, its_launches, device, session.name))
        clients.append(client_of(session, session.name, its_programs, numbers, device))
    return Scenario(kernels, _with_names(clients), device)


def _with_names(clients: Sequence[Client]) -> list[Client]:
    """With names that tell them apart: web, web (2), ..."""
    seen: dict[str, int] = defaultdict(int)
    result = []
    for client in clients:
        seen[client.name] += 1
        count = seen[client.name]
        name = client.name if count == 1 else f"{client.name} ({count})"
        result.append(replace(client, name=name))
    return result


def merge(scenarios: Sequence[Scenario]) -> Scenario:
    """All clients of several scenarios on one device. Raises TraceError if the devices differ."""
    device = scenarios[0].device
    kernels: list[Kernel] = []
    clients: list[Client] = []
    for scenario in scenarios:
        if scenario.device.units != device.units:
            sizes = f"{device.sms} and {scenario.device.sms}"
            raise TraceError(f"traces of devices that differ: {sizes} multiprocessors")
        for client in scenario.clients:
            programs = _shifted(client.programs, len(kernels))
            clients.append(replace(client, programs=programs, seed=len(clients) + 1))
        kernels += scenario.kernels
    return Scenario(kernels, _with_names(clients), device)


def _shifted(programs: Sequence[Sequence[Op]], by: int) -> Sequence[Sequence[Op]]:
    if by == 0:
        return programs
    known: dict[int, tuple[Op, ...]] = {}
    for program in programs:
        if id(program) not in known:
            known[id(program)] = tuple(
                op if op.kernel == SYNC else replace(op, kernel=op.kernel + by) for op in program
            )
    return [known[id(program)] for program in programs]
