"""Traces, mixes, comparisons and the command around them."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner
from rich.console import Console

from tally import simulated
from tally.commands.simulate import command
from tally.errors import TallyError
from tally.scheduler.sim import mixes, study, trace
from tally.scheduler.sim.compare import Comparison
from tally.scheduler.sim.run import simulate

SMALL = study.Setting(load=0.4, seconds=0.3, seed=5)


@pytest.fixture(scope="module")
def published() -> mixes.Mixes:
    return mixes.load()


@pytest.mark.parametrize("name", ["trace.jsonl", "trace.jsonl.gz"])
def test_a_trace_replays_to_the_nanosecond(
    tmp_path: Path, published: mixes.Mixes, name: str
) -> None:
    scenario = study.scenario(published, ["bert"], ["gpt2"], study.Setting(seconds=0.3, seed=0))
    trace.save(scenario, tmp_path / name)
    again = trace.load(tmp_path / name)
    assert again.kernels == scenario.kernels and again.device == scenario.device
    # Seeds are the reader's, so hold the replay against itself written once more.
    trace.save(again, tmp_path / f"again-{name}")
    third = trace.load(tmp_path / f"again-{name}")
    first, second = simulate(again, "tally", 0.2), simulate(third, "tally", 0.2)
    assert first.events == second.events and first.stats == second.stats


GOOD = [
    {"format": "tally-trace", "version": 1, "device": {"sms": 4}},
    {"kernel": 0, "name": "k", "blocks": 8, "blocks_per_sm": 2, "block_ns": 5000},
    {"client": 0, "name": "c", "class": "best-effort"},
    {"program": [[0, 100, 3], [-1, 50]], "client": 0},
]


def write(path: Path, lines: Sequence[object]) -> Path:
    path.write_text("\n".join(json.dumps(line) for line in lines))
    return path


def test_a_trace_may_leave_out_what_has_defaults(tmp_path: Path) -> None:
    scenario = trace.load(write(tmp_path / "t", GOOD))
    assert simulate(scenario, "tally", 0.001).launches > 0


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ({"program": [[1, 0]], "client": 0}, "line 5: .*kernel"),
        ({"program": [], "client": 0}, "line 5: .*empty"),
        ({"program": [[0, -1]], "client": 0}, "line 5: .*range"),
        ({"program": [[0, 1]], "client": 7}, "line 5"),
        ({"program": [[0, 1]], "client": 0, "arrival_ns": 3}, "arrival"),
        ({"kernel": 3, "name": "k", "blocks": 1, "blocks_per_sm": 1, "block_ns": 1}, "kernel 1"),
        ({"kernel": 1, "name": "k", "blocks": 0, "blocks_per_sm": 1, "block_ns": 1}, "range"),
        ({"client": 1, "name": "c", "class": "middling"}, "line 5"),
        ({"nothing": 1}, "neither"),
        ("text", "line 5"),
    ],
)
def test_a_broken_trace_says_where(tmp_path: Path, line: object, text: str) -> None:
    with pytest.raises(trace.TraceError, match=text):
        trace.load(write(tmp_path / "t", [*GOOD, line]))


def test_files_that_are_not_traces(tmp_path: Path) -> None:
    (tmp_path / "empty").write_text("")
    (tmp_path / "text").write_text("hello")
    (tmp_path / "bad.gz").write_bytes(b"\x1f\x8b123")
    (tmp_path / "other").write_text('{"format": "other"}')
    for name in ("empty", "text", "bad.gz", "other", "missing"):
        with pytest.raises(trace.TraceError):
            trace.load(tmp_path / name)


def test_the_published_mixes_are_what_the_study_says(published: mixes.Mixes) -> None:
    assert list(published.services) == ["bert", "llama"]
    assert len(published.trainers) == 6
    # The figures that the paper gives for the services alone.
    assert study.service_time_ns(published, published.services["bert"]) == pytest.approx(
        4_098_000, rel=0.02
    )
    assert study.service_time_ns(published, published.services["llama"]) == pytest.approx(
        1_982_700_000, rel=0.02
    )


def test_broken_mixes_are_named(tmp_path: Path) -> None:
    (tmp_path / "m.toml").write_text("[services.a]\ncpu_ns = 1\n[trainers]\n")
    with pytest.raises(mixes.MixError, match=r"m\.toml"):
        mixes.load(tmp_path / "m.toml")


def test_alone_is_the_measure(published: mixes.Mixes) -> None:
    scenario = study.scenario(published, ["bert"], ["bert"], SMALL)
    row = Comparison(scenario, 0.3).run("tally")
    service, trainer = row.clients
    assert service.high and service.throughput == pytest.approx(1.0, abs=0.05)
    assert 0.2 < trainer.throughput < 1.0
    assert row.system_throughput == service.throughput + trainer.throughput


def test_the_command_prints_a_table_json_and_a_plot(tmp_path: Path) -> None:
    words = ["--seconds", "0.2", "--policy", "tally", "--policy", "kernel"]
    plain = CliRunner().invoke(command, words)
    assert plain.exit_code == 0 and "tally" in plain.output
    result = CliRunner().invoke(command, [*words, "--json", "--trainer", "gpt2"])
    data = json.loads(result.output)
    assert data["simulated"] is True
    assert [row["policy"] for row in data["policies"]] == ["tally", "kernel"]
    pytest.importorskip("matplotlib")
    CliRunner().invoke(command, [*words, "--plot", str(tmp_path / "p.png")], catch_exceptions=False)
    assert (tmp_path / "p.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    "words",
    [
        ["--policy", "nonsense"],
        ["--service", "nonsense"],
        ["--seconds", "0.0001"],
        ["--all-pairs", "--seconds", "1"],
        ["--trace", "/nonexistent"],
        ["--mixes", "/nonexistent"],
    ],
)
def test_the_command_says_what_is_wrong_in_one_line(words: list[str]) -> None:
    result = CliRunner().invoke(command, words)
    assert isinstance(result.exception, TallyError)
    assert "\n" not in str(result.exception)


def test_what_does_not_fit_is_named_with_what_would() -> None:
    result = CliRunner().invoke(command, ["--service", "bert", "--service", "llama", "--seconds=2"])
    assert str(result.exception).startswith("not one request of llama fits into 2 s at load 0.5")
    assert str(result.exception).endswith("so use 4 s or more")
    words = ["--service", "llama", "--seconds", "4", "--policy", "fifo", "--json"]
    assert CliRunner().invoke(command, words).exit_code == 0


def test_all_pairs_begin_only_if_every_service_fits(published: mixes.Mixes) -> None:
    with pytest.raises(ValueError, match="llama"):
        next(study.pairs(published, ["tally"], replace(SMALL, seconds=1.0)))


@pytest.mark.parametrize(
    "words",
    [
        ["--all-pairs", "--plot", "p.png"],
        ["--all-pairs", "--trace", "web.jsonl"],
        ["--trace", "web.jsonl", "--service", "bert"],
        ["--trace", "web.jsonl", "--load", "0.5"],
    ],
)
def test_options_without_a_meaning_are_refused(words: list[str]) -> None:
    result = CliRunner().invoke(command, words)
    assert result.exit_code == 2
    assert f"{words[-2]} does not go with {words[0]}" in " ".join(result.output.split())


def test_tables_fit_80_columns(published: mixes.Mixes) -> None:
    scenario = study.scenario(published, ["bert"], ["whisper"], SMALL)
    row = Comparison(scenario, 0.3).run("timeslice")
    worst = [
        replace(
            client,
            name="a-job-with-a-long-name",
            p99_overhead=26.249,
            response_p99_overhead=109.999,
        )
        for client in row.clients
    ]
    row = replace(row, policy="timeslice", clients=tuple(worst))
    for table in (simulated.job_table([row]), simulated.policy_table([row])):
        out = io.StringIO()
        Console(width=80, file=out, force_terminal=True, color_system=None).print(table)
        headings = [line for line in out.getvalue().splitlines() if "POLICY" in line]
        assert len(headings) == 1, "one part"
        assert all(len(line) <= 80 for line in out.getvalue().splitlines())
