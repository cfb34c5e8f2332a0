"""The scheduler's rules as properties of the engine, under hostile sessions at random.

What is checked is what the device's blocks wrote down themselves (support/witness.py): every block
ran once, in its stream's order, and none of best-effort work began while a launch of high ran,
whatever streams, waits for values, copies and deaths were tried. The engine's own record of what it
let go when is exact, and allows no slack: nothing that cannot be stopped was let go between a
launch of high and its end, and no block ran outside of what the record says of its launch. A
failing run prints its seed; TALLY_PROPERTY_SEED replays it, TALLY_PROPERTY_SEEDS=N tries N.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable

import pytest
from support.client import LEGACY, Client
from support.executor import ExecutorProcess
from support.sessions import Recording, counters
from support.witness import (
    Witness,
    check_apart,
    check_decisions,
    check_once,
    check_order,
    check_recorded,
)

MS = 1_000_000
WORKERS = 2
HIGH_NS = 400 * MS
# How late a block that has seen its flag down may note the time, on a machine that has other things
# to do: what can be stopped is judged by that alone.
SLACK_NS = 250 * MS
BLOCKS_MAX, BLOCK_NS_MAX = 16, MS
STREAMS_MAX = 300
STEPS = 60

SEEDS = (
    [int(os.environ["TALLY_PROPERTY_SEED"])]
    if "TALLY_PROPERTY_SEED" in os.environ
    else [random.randrange(1 << 32) for _ in range(int(os.environ.get("TALLY_PROPERTY_SEEDS", 2)))]
)


class Hostile:
    """A best-effort session that tries whatever might get it past the scheduler."""

    def __init__(self, client: Client, draw: random.Random) -> None:
        self.client, self.draw = client, draw
        self.witness = Witness(client)
        self.streams = [client.stream(1), client.stream(0)]
        self.words = client.alloc(4096)
        client.write(self.words, bytes(4096), self.streams[0])
        client.sync(self.streams[0])
        self.scratch = client.alloc(8 << 20)
        self.next_word = 0
        self.unwritten: list[int] = []

    def step(self) -> None:
        tries: list[tuple[Callable[[], None], int]] = [
            (self.launch, 10),
            (self.many_streams, 1),
            (self.wait_value, 2),
            (self.write_value, 2),
            (self.join, 2),
            (self.transfer, 3),
        ]
        (chosen,) = self.draw.choices([t for t, _ in tries], [weight for _, weight in tries])
        chosen()

    def stream(self) -> int:
        return self.draw.choice([*self.streams, LEGACY])

    def launch(self) -> None:
        stream = self.stream()
        for _ in range(self.draw.choice([1, 1, 3, 8])):
            blocks = self.draw.randint(1, BLOCKS_MAX)
            self.witness.launch(stream, blocks, self.draw.choice([0, 1000, BLOCK_NS_MAX]))

    def many_streams(self) -> None:
        while len(self.streams) < STREAMS_MAX:
            self.streams.append(self.client.stream(1))
        for stream in self.draw.sample(self.streams, 40):
            self.witness.launch(stream, 1, self.draw.choice([0, BLOCK_NS_MAX // 10]))

    def wait_value(self) -> None:
        """Everything behind it in the stream waits for a word that is written later, or never
        before the end."""
        if self.next_word < 100:
            word = self.words + 4 * self.next_word
            self.next_word += 1
            self.client.value(self.draw.choice(self.streams), word, 1, wait=True)
            self.unwritten.append(word)
            self.launch()

    def write_value(self) -> None:
        """From a stream of its own: in any other it might wait for itself."""
        if self.unwritten:
            word = self.unwritten.pop(self.draw.randrange(len(self.unwritten)))
            self.client.value(self.client.stream(1), word, 1)

    def join(self) -> None:
        event = self.client.event()
        self.client.record(event, self.stream())
        self.client.send("STREAM_WAIT_EVENT", "tally_op_stream_wait_event", event=event,
                         stream=self.stream())  # fmt: skip

    def transfer(self) -> None:
        size = self.draw.choice([64, 4096, 1 << 20, 4 << 20])
        if self.draw.random() < 0.5:
            self.client.raw(self.client.copy(dst=self.scratch, src=self.scratch + (4 << 20),
                                             width=size, stream=self.stream()))  # fmt: skip
        else:
            self.client.send("MEMSET", "tally_op_memset", stream=self.stream(), height=1,
                             dst=self.scratch, width=size, element_bytes=1)  # fmt: skip

    def finish(self, recording: Recording) -> None:
        while self.unwritten:
            self.write_value()
        wait_for_all(self.client, recording)
        self.witness.read()


def wait_for_all(client: Client, recording: Recording) -> None:
    """Of the session. A recording that is not read for some seconds ends by itself."""
    call = client.begin("CTX_SYNC", "tally_op")
    for _ in range(60):
        recording.read()
        if client.replies.poll(1000):
            break
    client.finish(call, timeout_s=60)


def serve(high: Witness, stream: int, draw: random.Random) -> None:
    """A request of high's: now and then more launches than the books hold ahead of the long one."""
    if draw.random() < 0.15:
        for _ in range(1100):
            high.launch(stream, 1, 0)
    high.launch(stream, 1, HIGH_NS)


def run(
    executor: ExecutorProcess, seed: int, recording: Recording
) -> tuple[list[Witness], list[Witness], list[Client]]:
    draw = random.Random(seed)
    clients = [Client(executor.open(kind="high")), *(Client(executor.open()) for _ in range(2))]
    high = Witness(clients[0])
    stream = clients[0].stream(1)  # of one worker: the other one is left to what may be there
    low = [Hostile(client, draw) for client in clients[1:]]
    doomed = Hostile(Client(executor.open()), draw)
    deaths = 0
    for _ in range(STEPS):
        choice = draw.random()
        if choice < 0.12:
            serve(high, stream, draw)
        elif choice < 0.16:
            doomed.client.close(bye=False)
            executor.wait_event("closed", doomed.client.session)
            doomed = Hostile(Client(executor.open()), draw)
            deaths += 1
        elif choice < 0.2:
            time.sleep(draw.choice([0.001, 0.05]))  # high has gaps
        elif choice < 0.3:
            doomed.step()
        else:
            draw.choice(low).step()
        recording.read()
        problem = executor.request("validate")["wrong"]
        assert problem is None, problem
    serve(high, stream, draw)
    wait_for_all(clients[0], recording)
    high.read()
    for session in low:
        session.finish(recording)
    recording.read()
    doomed.client.close(bye=False)
    executor.wait_event("closed", doomed.client.session)
    return [high], [session.witness for session in low], clients


@pytest.mark.parametrize("options", [(), ("--event-timing",)], ids=["soft", "events"])
@pytest.mark.parametrize("seed", SEEDS)
def test_hostile_sessions_keep_the_rules(seed: int, options: tuple[str, ...]) -> None:
    print(f"TALLY_PROPERTY_SEED={seed}")
    with ExecutorProcess(f"--soft-workers={WORKERS}", *options) as executor:
        executor.wait_event("ready")
        recording = Recording(executor)
        high, low, clients = run(executor, seed, recording)
        recording.read_all()
        sessions = {witness.client.session for witness in high}
        assert check_decisions(recording.launches, sessions) > 0, "nothing was put to the test"
        for witness in (*high, *low):
            check_once(witness)
            check_order(witness)
        for witness in (*high, *low):
            check_recorded(witness, recording.launches)
        assert check_apart(high, low, SLACK_NS) > 0, "nothing was put to the test"
        for witness in low:
            counted = counters(executor, witness.client)
            assert counted["launches"] == len(witness.launches)
            assert counted["starts"] >= counted["launches"], "a launch is not accounted for"
            spent_ns = sum(b.ended_ns - b.began_ns for run in witness.launches for b in run.blocks)
            assert counted["scheduled_ns"] * WORKERS >= spent_ns * 0.9
        assert executor.request("validate")["wrong"] is None
        for client in clients:
            client.close()
            executor.wait_event("closed", client.session)


def test_canary_without_scheduling_the_rules_are_broken() -> None:
    """The same checks must see it when nobody keeps best-effort work back."""
    with ExecutorProcess(f"--soft-workers={WORKERS}") as executor:
        executor.wait_event("ready")
        assert executor.request("policy", policy="fifo")["ok"]
        recording = Recording(executor)
        with executor.client(kind="high") as client, executor.client() as other:
            high, low = Witness(client), Witness(other)
            stream = client.stream(1)
            high.launch(stream, 1, 4 * HIGH_NS)
            for _ in range(400):
                low.launch(LEGACY, 1, MS)
            client.sync(stream)
            other.sync()
            high.read()
            low.read()
            check_once(low)
            recording.read_all()
            with pytest.raises(AssertionError, match="let go"):
                check_decisions(recording.launches, {client.session})
            with pytest.raises(AssertionError, match="of high"):
                check_apart([high], [low], SLACK_NS)
            check_recorded(low, recording.launches)
            block = low.launches[0].blocks[0]
            for wrong, said in ((block._replace(began_ns=1), "before"),
                                (block._replace(ended_ns=1 << 62), "after its end")):  # fmt: skip
                low.launches[0].blocks[0] = wrong
                with pytest.raises(AssertionError, match=said):
                    check_recorded(low, recording.launches)
            with pytest.raises(AssertionError, match="not recorded"):
                check_recorded(low, recording.launches[1:])
            low.launches[0].blocks[0] = block._replace(runs=2)
            with pytest.raises(AssertionError, match="ran"):
                check_once(low)
            low.launches.reverse()
            with pytest.raises(AssertionError, match="overtook"):
                check_order(low)
