"""The workloads' own arithmetic: arrivals, percentiles, ratios; and the fuzzer's messages."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from random import Random

import numpy as np
import pytest
from rich.console import Console
from support import hostile, hostile_requests

from tally.client import protocol
from tally.workloads import backend, serve_digits, weights
from tally.workloads.bench import __main__ as bench
from tally.workloads.bench.result import Figure, Spread, compare
from tally.workloads.latency import summarize


def test_summary() -> None:
    summary = summarize([float(n) for n in range(1, 101)])
    assert summary.count == 100
    assert summary.mean == pytest.approx(50.5)
    assert summary.p50 == pytest.approx(50.5)
    assert summary.max == 100
    assert summary.p95 == pytest.approx(95.05)
    assert summary.p99 == pytest.approx(99.01)
    assert summarize([]).count == 0


def test_arrivals_are_poisson_and_seeded() -> None:
    times = serve_digits.arrivals(200.0, 50.0, seed=3)
    assert np.array_equal(times, serve_digits.arrivals(200.0, 50.0, seed=3))
    assert not np.array_equal(times, serve_digits.arrivals(200.0, 50.0, seed=4))
    assert (np.diff(times) > 0).all()
    assert times[-1] < 50.0
    assert len(times) == pytest.approx(200 * 50, rel=0.05)
    gaps = np.diff(times)
    assert gaps.std() == pytest.approx(gaps.mean(), rel=0.05)  # exponential


def test_latency_counts_from_the_arrival() -> None:
    served = serve_digits.Served(arrival_ms=10, start_ms=30, end_ms=35, right=True)
    assert (served.latency_ms, served.service_ms) == (25, 5)


def test_weights_are_safetensors(tmp_path: Path) -> None:
    """As the format has it: a length, JSON padded to 8 bytes, then the arrays' bytes."""
    arrays = {
        "layer.weight": np.arange(6, dtype=np.float32).reshape(2, 3).T,  # not contiguous
        "layer.bias": np.array([7], np.float32),
        "empty": np.zeros((0, 4), np.float32),
    }
    path = tmp_path / "new" / "w.safetensors"
    weights.write(path, arrays)
    data = path.read_bytes()
    begin = 8 + int.from_bytes(data[:8], "little")
    assert begin % 8 == 0
    header = json.loads(data[8:begin])
    assert header["layer.weight"] == {"dtype": "F32", "shape": [3, 2], "data_offsets": [0, 24]}
    assert header["layer.bias"] == {"dtype": "F32", "shape": [1], "data_offsets": [24, 28]}
    assert data[begin:] == np.array([0, 3, 1, 4, 2, 5, 7], np.float32).tobytes()
    read = weights.read(path)
    assert read.keys() == arrays.keys()
    for name, array in arrays.items():
        assert np.array_equal(read[name], array)
        assert read[name].flags.writeable  # as tinygrad wants them


def test_weights_of_another_type_or_no_weights_are_refused(tmp_path: Path) -> None:
    with pytest.raises(KeyError):
        weights.write(tmp_path / "w", {"half": np.zeros(3, np.float16)})
    (tmp_path / "w").write_bytes(b"not weights at all")
    with pytest.raises(ValueError):
        weights.read(tmp_path / "w")


def test_targets() -> None:
    cost = compare("cost", "ns", [30, 31, 32], [20, 21, 22], 1.5)
    assert cost.ratio == pytest.approx(31 / 21)
    assert cost.met
    slow = compare("cost", "ns", [40], [20], 1.5)
    assert slow.met is False
    speed = compare("copy", "ns", [30], [20], 0.5, at_most=False, inverse=True)
    assert speed.ratio == pytest.approx(2 / 3)
    assert speed.met
    assert Figure("rate", "1/s", Spread.of([1.0, 2.0, 3.0])).met is None
    assert Figure("start", "s", Spread.of([0.2]), target=0.3).met


def shown(show: Callable[[Console], None]) -> list[str]:
    """What is printed on a terminal of 80 columns."""
    console = Console(width=80, highlight=False, file=io.StringIO())
    show(console)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue().splitlines()


def test_the_benchmarks_table_fits_a_terminal() -> None:
    name = "service's p99 without queueing: timeslice / alone"
    slow = Figure(name, "ms", Spread.of([15_120.0]), Spread.of([34.77]), 434.73, 1.15)
    lines = shown(lambda console: bench.show([slow], console))
    assert not any("…" in line for line in lines)
    assert "15.12 s ±0% 34.77 ms ±0% 434.73 ≤ 1.15 missed" in " ".join(" ".join(lines).split())


def test_prepare_refuses_to_come_late(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "tinygrad", object())
    with pytest.raises(RuntimeError, match="before tinygrad"):
        backend.prepare("CPU")


def test_hostile_messages_replay() -> None:
    def some(seed: int) -> list[bytes]:
        random = Random(seed)
        return [hostile.framed_op(random, 1 << 46) for _ in range(200)] + [
            b"".join(hostile_requests.control_message(random)) for _ in range(200)
        ]

    assert some(5) == some(5)
    assert some(5) != some(6)


def test_hostile_ops_are_framed_as_the_protocol_says() -> None:
    random = Random(9)
    liar = hostile.Liar(random, 1 << 46, 8)
    for turn in range(4000):
        message = liar.op() if turn % 2 else hostile.framed_op(random, 1 << 46)
        code, flags, size, _ = hostile.OP_HEADER.unpack_from(message)
        assert (flags, size) == (0, len(message))
        assert code in hostile.BODIES
    assert protocol.HEADER.size == 16
