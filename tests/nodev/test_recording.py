"""Recordings: written, read, shown, and replayed in the simulator."""

from __future__ import annotations

import base64
import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from support import recordings
from support.recordings import batch, kernel, launch, request, session

from tally._native import lib
from tally.commands import simulate
from tally.commands import trace as trace_command
from tally.daemon.executor.recorder import LEASE_SECONDS, Recorder
from tally.errors import TallyError
from tally.scheduler.core import JobClass
from tally.scheduler.limits import Limits
from tally.scheduler.policies import policies
from tally.scheduler.sim import recording, replay, trace
from tally.scheduler.sim.files import TraceError
from tally.scheduler.sim.model import SYNC, Op

US = 1000
GEMM, ADD = 0xAA, 0xBB


def web(requests: int = 20, offset: int = 0) -> Any:
    """Every 1000 us a request of two kernels: 20 us of its own time before each, 30 us at the end.

    On an idle device a launch takes 5 us to begin; the second begins 2 us after the first's end.
    """
    records = []
    for at in range(offset, offset + requests * 1000 * US, 1000 * US):
        first, second = at + 20 * US, at + 40 * US
        records.append(launch(1, GEMM, first, first + 5 * US, first + 65 * US, issue=first))
        records.append(launch(1, ADD, second, first + 67 * US, first + 77 * US, issue=second))
        records.append(request(1, at, first + 107 * US))
    kernels = [kernel(GEMM, "gemm"), kernel(ADD, "add", (4, 1, 1))]
    return batch(records, [session(1, "web")], kernels)


def training(steps: int = 20, flags: int = 0) -> Any:
    """Steps of one long kernel, of 800 us, one right after another with 50 us between."""
    records = []
    for at in range(0, steps * 1000 * US, 1000 * US):
        records.append(
            launch(
                2,
                GEMM,
                at + 50 * US,
                at + 60 * US,
                at + 860 * US,
                issue=at + 55 * US,
                flags=flags,
            )
        )
        records.append(request(2, at + 50 * US, at + 900 * US))
    return batch(records, [session(2, "train", "best-effort")], [kernel(GEMM, "gemm", (64, 1, 1))])


# ---- files --------------------------------------------------------------------------------------


def test_what_is_written_is_read(tmp_path: Path) -> None:
    words = {"starts": 3, "preemptions": 2, "flags": lib.TALLY_TRACE_GUARDED, "stream": 4}
    guarded = launch(2, GEMM, 10, 20, 35, issue=30, **words)
    path = recordings.write(
        tmp_path / "r",
        batch([guarded], [session(2, "train", "best-effort")], [kernel(GEMM, "gemm")]),
        batch([launch(2, 0xCC, 40, 0, 0), request(2, 5, 50)], lost=9),
        seconds=1.5,
    )
    recorded = recording.load(path)
    assert recorded.launches == [
        recording.Launch(2, 4, 0, 10, 30, 20, 35, 15, 3, 2, recording.GUARDED),
        recording.Launch(2, recording.NONE, 1, 40, 140, 0, 0, 0, 1, 0, recording.UNTIMED),
    ]
    assert recorded.requests == [recording.Request(2, 5, 50)]
    assert recorded.sessions[2] == recording.Session(2, "j2", "train", "best-effort", 0, 1, 102)
    assert [k.name for k in recorded.kernels] == ["gemm", ""]
    assert recorded.kernels[0].shape == "8 of 64"
    assert (recorded.lost, recorded.seconds, recorded.complete) == (9, 1.5, True)
    assert recorded.policy == "tally" and recorded.limits.turnaround_ns_max == 31600


@pytest.mark.parametrize("job", ["web", "j1"])
def test_only_the_job_asked_for(tmp_path: Path, job: str) -> None:
    recorded = recording.load(recordings.write(tmp_path / "r", web(2), training(2), job=job))
    assert {launch.session for launch in recorded.launches} == {1}
    assert [k.name for k in recorded.kernels] == ["gemm", "add"]
    assert len(recorded.requests) == 2


def test_what_began_before_the_recording_begins_with_it(tmp_path: Path) -> None:
    early = launch(1, GEMM, -500, -400, 700)
    path = recordings.write(tmp_path / "r", batch([early], [session(1, "w")], [kernel(GEMM, "g")]))
    (only,) = recording.load(path).launches
    assert (only.submit_ns, only.start_ns, only.end_ns) == (0, 0, 700)


def test_a_recording_that_was_cut_off(tmp_path: Path) -> None:
    path = recordings.write(tmp_path / "r", web(3))
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(lines[:-2]) + lines[-2][:10])
    recorded = recording.load(path)
    assert not recorded.complete and len(recorded.launches) == 6 and len(recorded.requests) == 2
    path.write_text("".join(lines[:3]) + lines[3][:10] + "\n" + "".join(lines[4:]))
    with pytest.raises(TraceError, match="line 4"):
        recording.load(path)


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ({"launch": [1, 0, 9, 1, 1, 1, 1, 1, 1, 0, 0]}, "kernel 9"),
        ({"launch": [9, 0, 0, 1, 1, 1, 1, 1, 1, 0, 0]}, "session 9"),
        ({"launch": [1, 0, 0, 1]}, "line 5"),
        ({"launch": [1, 0, 0, -1, 1, 1, 1, 1, 1, 0, 0]}, "range"),
        ({"request": [1, 5, 4]}, "ends before"),
        ({"session": 3, "job": "j", "name": "n", "class": "low", "priority": 0, "pid": 1}, "class"),
        ({"kernel": 7}, "kernel 2 comes next"),
        ({"surprise": 7}, "surprise"),
        ([], "line 5"),
        ({}, "line 5"),
    ],
)
def test_a_broken_recording_says_where(tmp_path: Path, line: Any, text: str) -> None:
    head = recordings.write(tmp_path / "r", web(1)).read_text().splitlines()
    described = [words for words in head if '{"launch"' not in words and '{"request"' not in words]
    (tmp_path / "r").write_text("\n".join([*described[:-1], json.dumps(line)]) + "\n")
    assert len(described) == 5
    with pytest.raises(TraceError, match=text):
        recording.load(tmp_path / "r")


# ---- replay -------------------------------------------------------------------------------------


def scenario(tmp_path: Path, *batches: Any) -> Any:
    return replay.scenario_of(recording.load(recordings.write(tmp_path / "r", *batches)))


def test_latencies_are_taken_from_the_recording(tmp_path: Path) -> None:
    device = scenario(tmp_path, web()).device
    assert device.sms == 4
    assert (device.launch_ns, device.gap_ns) == (5 * US, 2 * US)
    assert device.completion_ns + device.reply_ns == 30 * US
    few = scenario(tmp_path, web(requests=3)).device
    assert few.launch_ns == 4000, "too few to believe them: the model's own"


def test_times_from_outside_hold_the_latencies(tmp_path: Path) -> None:
    path = recordings.write(tmp_path / "r", web())
    path.write_text(path.read_text().replace('"reported"', '"estimated"'))
    device = replay.scenario_of(recording.load(path)).device
    assert (device.launch_ns, device.gap_ns, device.completion_ns, device.reply_ns) == (0, 0, 0, 0)


def test_requests_become_programs(tmp_path: Path) -> None:
    replayed = scenario(tmp_path, web())
    (client,) = replayed.clients
    assert client.job_class is JobClass.HIGH and client.name == "web"
    assert list(client.arrivals) == [at * 1000 * US for at in range(20)]
    # Behind the wait: nothing, as the way back is the device's.
    assert client.programs[0] == (Op(0, 20 * US), Op(1, 20 * US), Op(SYNC, 0))
    gemm, add = replayed.kernels
    assert (gemm.name, gemm.blocks, gemm.blocks_per_sm) == ("web.gemm", 8, 1)
    assert gemm.block_ns == 30 * US, "two waves on four multiprocessors"
    assert add.block_ns == 10 * US and set(add.samples) == {10 * US}


def test_best_effort_pauses_as_it_did(tmp_path: Path) -> None:
    (client,) = scenario(tmp_path, training()).clients
    assert client.job_class is JobClass.BEST_EFFORT and client.arrivals is None
    # From 40 us behind the last block, the way back, to the next step: 150 us.
    assert client.programs[0] == (Op(0, 0), Op(SYNC, 150 * US))
    assert client.programs[-1] == (Op(0, 0), Op(SYNC, 0))


def test_a_guarded_launch_holds_its_session_until_its_end(tmp_path: Path) -> None:
    records = [
        launch(2, GEMM, 10 * US, 20 * US, 500 * US, issue=12 * US, flags=lib.TALLY_TRACE_GUARDED),
        launch(2, GEMM, 503 * US, 510 * US, 600 * US, issue=504 * US),
        launch(2, GEMM, 507 * US, 610 * US, 700 * US, issue=508 * US),
    ]
    sessions = [session(2, "train", "best-effort")]
    (client,) = scenario(tmp_path, batch(records, sessions, [kernel(GEMM, "gemm")])).clients
    assert client.programs == [(Op(0, 0), Op(0, 3 * US), Op(0, 3 * US))]


def test_what_ran_in_one_piece_says_how_long_a_kernel_takes(tmp_path: Path) -> None:
    records = [launch(1, GEMM, 1, at, at + 800) for at in range(10, 19)]
    records.append(launch(1, GEMM, 1, 10, 90_000, starts=2, preemptions=1))
    records.append(launch(1, GEMM, 2, 0, 0))
    (gemm,) = scenario(tmp_path, batch(records, [session(1, "w")], [kernel(GEMM, "g")])).kernels
    assert set(gemm.samples) == {400}


def test_recordings_made_apart_run_together(tmp_path: Path) -> None:
    both = replay.merge([scenario(tmp_path, web()), scenario(tmp_path, training())])
    assert [client.name for client in both.clients] == ["web", "train"]
    assert both.clients[1].programs[0][0] == Op(2, 0), "the second file's kernels come behind"
    assert [k.name for k in both.kernels] == ["web.gemm", "web.add", "train.gemm"]
    twice = replay.merge([scenario(tmp_path, web())] * 2)
    assert [client.name for client in twice.clients] == ["web", "web (2)"]
    other = recordings.write(tmp_path / "other", web())
    other.write_text(other.read_text().replace('"sms":4', '"sms":5'))
    with pytest.raises(TraceError, match="4 and 5"):
        replay.merge([both, replay.scenario_of(recording.load(other))])


def test_a_replayed_recording_can_be_saved_as_a_trace(tmp_path: Path) -> None:
    replayed = scenario(tmp_path, web(), training())
    trace.save(replayed, tmp_path / "t.gz")
    again = trace.load(tmp_path / "t.gz")
    assert again.kernels == replayed.kernels and again.device == replayed.device
    assert [c.arrivals for c in again.clients] == [c.arrivals for c in replayed.clients]


# ---- commands -----------------------------------------------------------------------------------


def run(command: Any, *words: str | Path) -> str:
    done = CliRunner().invoke(command, [str(word) for word in words], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


def test_simulate_with_a_floor_under_best_effort_work(tmp_path: Path) -> None:
    """The option is the setting; 0 is what goes without it, to the nanosecond."""
    words = ["--policy", "tally", "--seconds", "0.5", "--load", "0.95", "--json"]
    runs = []
    for more in ((), ("0",), ("30",)):
        options = ("--best-effort-min-percent", *more) if more else ()
        data = json.loads(run(simulate.command, *words, *options))
        assert data["policies"][0].pop("wall_seconds") > 0
        runs.append(data)
    without, nothing, floor = runs
    assert nothing == without
    assert floor["limits"] == without["limits"] | {"best_effort_permil_min": 300}
    shares = [data["policies"][0]["clients"][1]["gpu_share"] for data in (without, floor)]
    assert shares[0] < 0.25
    assert 0.27 < shares[1] < 0.33


def test_simulate_replays_recordings_under_every_policy(tmp_path: Path) -> None:
    files = [
        recordings.write(tmp_path / "web", web()),
        recordings.write(tmp_path / "train", training()),
    ]
    words = [word for file in files for word in ("--trace", file)]
    data = json.loads(run(simulate.command, *words, "--json", "--turnaround-us", "50"))
    assert data["seconds"] == pytest.approx(0.019), "until the last request"
    assert data["limits"]["turnaround_ns_max"] == 50 * US
    rows = {row["policy"]: row for row in data["policies"]}
    assert list(rows) == list(policies())
    web_alone_ns = 20 * US + 5 * US + 60 * US + 2 * US + 10 * US + 30 * US
    service = rows["tally"]["clients"][0]
    assert service["name"] == "web"
    assert service["p50_ns"] == pytest.approx(web_alone_ns, rel=0.25)
    assert service["p99_overhead"] < rows["fifo"]["clients"][0]["p99_overhead"]
    assert "train" in run(simulate.command, *words)


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda path: None, "No such file"),
        (lambda path: path.write_text("{}"), "does not begin"),
        (lambda path: path.write_text("no"), "line 1"),
        (lambda path: recordings.write(path, batch([])), "no launch was recorded"),
        (lambda path: path.write_bytes(gzip.compress(b"{}")), "line 1"),
    ],
)
def test_simulate_says_what_is_wrong_with_a_file(tmp_path: Path, make: Any, text: str) -> None:
    make(tmp_path / "r")
    done = CliRunner().invoke(simulate.command, ["--trace", str(tmp_path / "r")])
    assert isinstance(done.exception, TallyError) and text in str(done.exception)
    assert "\n" not in str(done.exception)


def test_show_sums_up_by_job_and_kernel(tmp_path: Path) -> None:
    records = [launch(1, ADD, 1, 0, 0)]
    path = recordings.write(
        tmp_path / "r", web(10), training(5), batch(records, lost=3), seconds=2.0
    )
    text = run(trace_command.command, "show", path)
    assert "36 launches" not in text and "26 launches in 2.0 s; 3 records lost; 1 of them" in text
    rows = [line.split() for line in text.splitlines()]
    assert ["gemm", "8", "of", "64", "10", "60us", "60us", "600us", "0"] in rows
    assert ["add", "4", "of", "64", "11", "10us", "10us", "100us", "0"] in rows
    assert "web (high): 10 requests, p50 127us, p99 127us\nKERNEL" in text
    assert "train (best-effort): 5 requests, p50 850us, p99 850us\nKERNEL" in text
    data = json.loads(run(trace_command.command, "show", "--json", path))
    assert data["complete"] and data["lost"] == 3 and len(data["kernels"]) == 3


def test_show_says_what_is_wrong(tmp_path: Path) -> None:
    (tmp_path / "r").write_text("hello\n")
    done = CliRunner().invoke(trace_command.command, ["show", str(tmp_path / "r")])
    assert isinstance(done.exception, TallyError) and "line 1" in str(done.exception)


# ---- the executor's side ------------------------------------------------------------------------


class FakeEngine:
    """Records as a test puts them; the clock of the lease is the test's too."""

    def __init__(self) -> None:
        self.on = False
        self.now_s = 0.0
        self.records = b""
        self.limits = Limits.default()

    def trace_start(self, records_max: int) -> bool:
        was, self.on = self.on, True
        return not was

    def trace_stop(self) -> None:
        self.on = False

    def trace_read(self, records_max: int) -> tuple[bytes, int]:
        return self.records, 5

    def kernel(self, signature: int) -> dict[str, Any] | None:
        return {"name": f"k{signature}"} if signature != ADD else None

    def device(self) -> tuple[bytes, str, int]:
        return b"", "fake", 0

    def multiprocessors(self) -> int:
        return 3

    def times_reported(self) -> bool:
        return True

    def policy(self) -> str:
        return "fifo"


def made() -> tuple[FakeEngine, Recorder]:
    engine = FakeEngine()
    recorder = Recorder(engine, "soft", lambda: engine.now_s)  # type: ignore[arg-type]
    return engine, recorder


JOB = {"id": "j1", "name": "web", "class": "high", "priority": 2, "weight": 3, "more": "not told"}


def test_sessions_and_kernels_are_told_once() -> None:
    engine, recorder = made()
    recorder.opened(1, 77, JOB)
    began = recorder.start({})
    assert began["device"] == {"name": "fake", "kind": "soft", "sms": 3, "times": "reported"}
    number = {"recording": began["recording"]}
    both = batch([launch(1, GEMM, 1, 2, 3), launch(1, ADD, 1, 2, 3), request(1, 0, 4)])
    engine.records = base64.b64decode(both["records"])
    first = recorder.read(number)
    assert first["count"] == 3 and first["lost"] == 5 and not first["more"]
    (told,) = first["sessions"]
    assert told == {
        "session": 1, "pid": 77, "id": "j1", "name": "web", "class": "high", "priority": 2,
        "weight": 3,
    }  # fmt: skip
    assert first["kernels"] == [{"signature": f"{GEMM:016x}", "name": f"k{GEMM}"}]
    recorder.opened(2, 78, JOB)
    recorder.closed(1)
    second = recorder.read(number)
    assert [s["session"] for s in second["sessions"]] == [2] and second["kernels"] == []
    recorder.stop(number)
    again = {"recording": recorder.start({})["recording"]}
    assert [s["session"] for s in recorder.read(again)["sessions"]] == [2]


def test_one_recording_at_a_time_and_none_that_nobody_reads() -> None:
    engine, recorder = made()
    first = {"recording": recorder.start({})["recording"]}
    with pytest.raises(ValueError, match="going on"):
        recorder.start({})
    engine.now_s += LEASE_SECONDS
    recorder.expire()
    assert recorder.read(first)
    engine.now_s += LEASE_SECONDS + 0.1
    recorder.expire()
    assert not engine.on
    with pytest.raises(ValueError, match="no such recording"):
        recorder.read(first)
    second = {"recording": recorder.start({})["recording"]}
    with pytest.raises(ValueError, match="no such recording"):
        recorder.stop(first)
    engine.now_s += LEASE_SECONDS + 0.1
    assert recorder.start({})["recording"] > second["recording"], "the old one's time was up"
