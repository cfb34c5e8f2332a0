"""Processes that work for an executor: what they are limited to, who waits for whom, their ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from support.daemon import wait_until

from tally.daemon.executor.rewrite import WORK_MODULE, RewriteCache
from tally.daemon.kept_files import KeptFiles
from tally.daemon.workers import LeftError, Limits, Pool, WorkerError

pytestmark = pytest.mark.timeout(120)

SECONDS_MAX, BYTES_MAX = 0.5, 300 << 20
MODULE = """
import os, signal, time

def pid(head, data):
    return {"pid": os.getpid(), "nice": os.nice(0)}, data[::-1]

def spin(head, data):
    while True:
        pass

def grow(head, data):
    held = []
    while True:
        held.append(b"x" * (8 << 20))

def abort(head, data):
    os.abort()

def wrong(head, data):
    raise ValueError("no such thing")

def hold(head, data):
    open(head["path"], "w").write(str(os.getpid()))
    while os.path.exists(head["path"]):
        time.sleep(0.01)
    return {}, b""

WORKS = {f.__name__: f for f in (pid, spin, grow, abort, wrong, hold)}
"""


@pytest.fixture
def make_pool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Pool]]:
    (tmp_path / "some_works.py").write_text(MODULE)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    pools = []

    def make(count: int = 1) -> Pool:
        pools.append(Pool(["some_works"], Limits(count, SECONDS_MAX, BYTES_MAX)))
        return pools[-1]

    yield make
    for pool in pools:
        pool.close()


def lives(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


class Held:
    """Work that goes on until the file is gone, asked for by a thread of its own."""

    def __init__(self, pool: Pool, path: Path, urgent: bool = False):
        self.path = path
        self.error: BaseException | None = None
        self.thread = threading.Thread(target=self._run, args=(pool, urgent))
        self.thread.start()

    def _run(self, pool: Pool, urgent: bool) -> None:
        try:
            pool.run("hold", {"path": str(self.path)}, b"", urgent=urgent)
        except (LeftError, WorkerError) as error:
            self.error = error

    def wait_begun(self) -> int:
        wait_until(lambda: self.path.exists() and self.path.read_text() != "", 60, "it has begun")
        return int(self.path.read_text())

    def end(self) -> None:
        self.path.unlink()
        self.thread.join(60)


def test_bytes_go_there_and_back_and_a_worker_is_used_again(make_pool: Any) -> None:
    pool = make_pool()
    data = bytes(range(256)) * 4096
    head, made = pool.run("pid", {}, data)
    assert made == data[::-1] and head["pid"] != os.getpid()
    assert pool.run("pid", {}, b"")[0] == head


@pytest.mark.parametrize(
    ("work", "reason"),
    [
        ("spin", "took more than 0.5 s (code_seconds_max)"),
        ("grow", "needed more than 300 MiB (code_memory_bytes_max)"),
        ("abort", "ended the process that did it"),
        ("wrong", "no such thing"),
    ],
)
def test_work_that_does_not_come_to_its_end_harms_itself_alone(
    make_pool: Any, work: str, reason: str
) -> None:
    pool = make_pool()
    with pytest.raises(WorkerError) as caught:
        pool.run(work, {}, b"")
    assert reason in str(caught.value)
    assert pool.run("pid", {}, b"ab")[1] == b"ba"


def test_who_leaves_takes_the_worker_with_him(make_pool: Any, tmp_path: Path) -> None:
    pool = make_pool()
    left = threading.Event()
    pool.watch(left.is_set)
    held = Held(pool, tmp_path / "held")
    pid = held.wait_begun()
    left.set()
    held.thread.join(60)
    assert isinstance(held.error, LeftError)
    wait_until(lambda: not lives(pid), 10, "the worker is gone")
    left.clear()
    assert pool.run("pid", {}, b"")[0]["pid"] != pid


def test_urgent_work_waits_for_no_other_and_goes_first(make_pool: Any, tmp_path: Path) -> None:
    pool = make_pool()
    held = Held(pool, tmp_path / "held")
    held.wait_begun()
    waiting = Held(pool, tmp_path / "waiting")  # one worker for each class
    urgent = pool.run("pid", {}, b"", urgent=True)[0]
    assert not (tmp_path / "waiting").exists()
    held.end()
    waiting.wait_begun()
    waiting.end()
    assert pool.run("pid", {}, b"")[0]["nice"] > urgent["nice"]


def test_a_first_process_that_was_killed_is_replaced(make_pool: Any) -> None:
    pool = make_pool()
    pool.run("pid", {}, b"")
    process, _ = pool._parent
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    with pytest.raises(WorkerError):  # its workers went with it
        pool.run("abort", {}, b"")
    assert pool.run("pid", {}, b"ab")[1] == b"ba"


def test_the_end_of_a_pool_ends_its_processes_and_who_waits(make_pool: Any, tmp_path: Path) -> None:
    pool = make_pool()
    held = [Held(pool, tmp_path / str(number)) for number in range(2)]
    wait_until(lambda: any(h.path.exists() for h in held), 60, "one has begun")
    (begun,) = (h for h in held if h.path.exists())
    pid = begun.wait_begun()
    pool.close()
    for h in held:
        h.thread.join(60)
        assert isinstance(h.error, LeftError)
    wait_until(lambda: not lives(pid), 10, "the worker is gone")
    with pytest.raises(LeftError):
        pool.run("pid", {}, b"")


def test_workers_end_with_the_process_they_work_for(make_pool: Any, tmp_path: Path) -> None:
    make_pool()
    program = (
        "import threading, time\n"
        "from tally.daemon.workers import Pool\n"
        "pool = Pool(['some_works'])\n"
        f"pool.run('hold', {{'path': {str(tmp_path / 'held')!r}}}, b'')\n"
    )
    user = subprocess.Popen([sys.executable, "-P", "-c", program])
    wait_until(lambda: (tmp_path / "held").exists(), 60, "it has begun")
    wait_until(lambda: (tmp_path / "held").read_text() != "", 10, "it has said who it is")
    pid = int((tmp_path / "held").read_text())
    user.kill()
    user.wait()
    wait_until(lambda: not lives(pid), 30, "the worker is gone")


def test_a_module_that_takes_too_long_to_rewrite_runs_whole_and_says_so() -> None:
    pool = Pool([WORK_MODULE], Limits(1, 0.01, 1 << 30))
    try:
        cache = RewriteCache(None, pool)
        body = "add.s32 %r1, %r1, 1;\n" * 200_000
        head = ".version 8.0\n.target sm_80\n.address_size 64\n"
        text = f"{head}.visible .entry k()\n{{\n.reg .b32 %r<2>;\n{body}ret;\n}}\n"
        assert cache.rewrite(text.encode()) is None
        (note,) = cache.refusals.report()["notes"]
        assert note["runs"] == "whole" and "(code_seconds_max)" in note["reason"]
    finally:
        pool.close()


def test_kept_files_stay_within_their_bytes_and_the_oldest_go(tmp_path: Path) -> None:
    files = KeptFiles(tmp_path / "kept", ".x", 1 << 20)
    for number in range(200):
        files.put(f"{number:03}", bytes(20_000))
        os.utime(files.path(f"{number:03}"), (number, number))
        files.get("000")  # in use
    total = sum(path.stat().st_size for path in (tmp_path / "kept").iterdir())
    assert total <= (1 << 20) * 17 // 16
    assert files.get("000") and files.get("199") and not files.get("100")
    files.put("large", bytes(2 << 20))
    assert files.get("large") is None


def test_kept_files_without_a_folder_are_misses(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    told: list[OSError] = []
    files = KeptFiles(
        tmp_path / "file" / "kept", ".x", 1 << 20, lambda _, error: told.append(error)
    )
    files.put("a", b"b")
    assert files.get("a") is None and len(told) == 2
