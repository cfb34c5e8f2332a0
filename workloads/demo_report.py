"""What the demo shows: its verdict in words, the table, the plot. Nothing is measured here."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from tally import render
from tally.workloads.latency import summarize

# What Tally promises, as the bounds that the demo is held to.
P99_TIMES_ALONE_MAX = 1.5
P99_SHARE_OF_FIFO_MAX = 0.5
STEPS_SHARE_OF_FIFO_MIN = 0.8

KEPT, PARTLY, NOT_SHOWN = "kept", "partly kept", "not shown"
MARKS = {KEPT: "bold green", PARTLY: "bold yellow", NOT_SHOWN: "bold red"}
COLORS = {"alone": "tab:gray", "fifo": "tab:red", "tally": "tab:green"}


@dataclass(frozen=True)
class Scenario:
    """The service's measurements, and what the trainer did meanwhile."""

    name: str  # alone, fifo or tally
    service: dict[str, Any]
    trainer_steps_per_second: float | None

    @property
    def title(self) -> str:
        return self.name if self.name == "alone" else f"beside a trainer, {self.name}"

    @property
    def p99_ms(self) -> float:
        return float(self.service["latency"]["p99"])

    def as_dict(self) -> dict[str, Any]:
        """For demo.json."""
        return {
            "title": self.title,
            "latency_ms": self.service["latency"],
            "service_ms": self.service["service"],
            "throughput_per_second": self.service["throughput_per_second"],
            "accuracy": self.service["accuracy"],
            "trainer_steps_per_second": self.trainer_steps_per_second,
            "stolen_share": self.service["stolen_share"],
            "rounds_p99_ms": self.service["rounds_p99_ms"],
            "dropped_p99_ms": self.service["dropped_p99_ms"],
        }


def pooled(name: str, rounds: list[dict[str, Any]], rates: list[float]) -> Scenario:
    """One scenario of several rounds: all their requests together, one round after the other.

    rounds: what serve_digits has written in each. rates: the trainer's steps a second, if there was
    one. The rounds are of one length, so that plain means are right.
    """

    def mean(key: str) -> float:
        return sum(float(one[key]) for one in rounds) / len(rounds)

    latency_ms = [ms for one in rounds for ms in one["latency_ms"]]
    service_ms = [ms for one in rounds for ms in one["service_ms"]]
    service = {
        "latency": summarize(latency_ms).as_dict(),
        "service": summarize(service_ms).as_dict(),
        "throughput_per_second": mean("throughput_per_second"),
        "accuracy": sum(one["accuracy"] * one["requests"] for one in rounds)
        / max(len(latency_ms), 1),
        "stolen_share": mean("stolen_share"),
        "rounds_p99_ms": [one["latency"]["p99"] for one in rounds],
        "dropped_p99_ms": [p99 for one in rounds for p99 in one["dropped_p99_ms"]],
        "arrival_ms": [
            turn * one["seconds"] * 1e3 + ms
            for turn, one in enumerate(rounds)
            for ms in one["arrival_ms"]
        ],
        "latency_ms": latency_ms,
    }
    return Scenario(name, service, sum(rates) / len(rates) if rates else None)


@dataclass(frozen=True)
class Check:
    """One part of the promise: the ratio that was measured, its bound, and what it is."""

    text: str
    ratio: float
    bound: float
    at_most: bool

    @property
    def holds(self) -> bool:
        return self.ratio <= self.bound if self.at_most else self.ratio >= self.bound

    def line(self) -> str:
        word = "at most" if self.at_most else "at least"
        mark = "yes" if self.holds else "NO"
        return f"{mark:<3}  {self.text}: {self.ratio:.2f} ({word} {self.bound:g})"


def ratio(value: float, base: float) -> float:
    """value in units of base; infinite for a base of nothing, so that nothing is proved by it."""
    return value / base if base > 0 else float("inf")


def checks(alone: Scenario, fifo: Scenario, tally: Scenario) -> list[Check]:
    """The promise, part by part."""
    fifo_steps = fifo.trainer_steps_per_second or 0.0
    tally_steps = tally.trainer_steps_per_second or 0.0
    return [
        Check(
            "service's p99 with Tally, in alone's",
            ratio(tally.p99_ms, alone.p99_ms),
            P99_TIMES_ALONE_MAX,
            True,
        ),
        Check(
            "service's p99 with Tally, in fifo's",
            ratio(tally.p99_ms, fifo.p99_ms),
            P99_SHARE_OF_FIFO_MAX,
            True,
        ),
        Check(
            "trainer's steps/s with Tally, in fifo's",
            tally_steps / fifo_steps if fifo_steps > 0 else 0.0,
            STEPS_SHARE_OF_FIFO_MIN,
            False,
        ),
    ]


def verdict(parts: list[Check]) -> str:
    """KEPT if all of it holds, NOT_SHOWN if neither latency does, else PARTLY."""
    if all(part.holds for part in parts):
        return KEPT
    return PARTLY if any(part.holds for part in parts if part.at_most) else NOT_SHOWN


def summary(state: str, alone: Scenario, fifo: Scenario, tally: Scenario) -> str:
    """The verdict in one sentence, without more than was measured."""
    figures = (
        f"p99 is {alone.p99_ms:.1f} ms alone, {fifo.p99_ms:.1f} ms beside a trainer without "
        f"Tally's order, {tally.p99_ms:.1f} ms with it"
    )
    begin = {
        KEPT: "The promise is kept in this run",
        PARTLY: "The promise is kept in part in this run",
        NOT_SHOWN: "This run does not show what Tally promises",
    }[state]
    return f"{begin}: {figures}."


def show(scenarios: list[Scenario], trainer_alone: float, notes: list[str], to: Console) -> None:
    """In a table that fits into 80 columns, and in words."""
    columns = ("SERVICE", "p50 ms", "p95 ms", "p99 ms", "ANSWERS/s", "RIGHT", "STEPS/s")
    table = render.table(columns, right=columns[1:])
    for scenario in scenarios:
        latency, steps = scenario.service["latency"], scenario.trainer_steps_per_second
        table.add_row(
            scenario.title,
            *(f"{latency[key]:.1f}" for key in ("p50", "p95", "p99")),
            f"{scenario.service['throughput_per_second']:.1f}",
            f"{scenario.service['accuracy']:.1%}",
            "" if steps is None else f"{steps:.1f}",
        )
    table.add_row("(trainer alone)", "", "", "", "", "", f"{trainer_alone:.1f}")
    count = scenarios[0].service["latency"]["count"]
    to.print(f"\nThe service's latency, from arrival to answer, of {count} requests each:\n")
    to.print(table)
    alone, fifo, tally = scenarios
    parts = checks(alone, fifo, tally)
    state = verdict(parts)
    to.print("\nSTEPS/s are the trainer's. fifo: neither launches nor programs are ordered.")
    to.print(f"What Tally promises is [{MARKS[state]}]{state}[/]:\n")
    for part in parts:
        to.print(part.line(), highlight=False)
    to.print(f"\n{summary(state, alone, fifo, tally)}", highlight=False)
    for note in notes:
        to.print(note, highlight=False)
    to.print("")


def plot(scenarios: list[Scenario], device: str, path: Path) -> None:
    """p99 and the trainer's speed as bars beside their bounds; below, every request."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    from matplotlib.ticker import LogLocator, NullFormatter

    alone, fifo, tally = scenarios
    state = verdict(checks(alone, fifo, tally))
    figure = plt.figure(figsize=(10, 6.4), layout="constrained")
    latency, speed, requests = figure.subplot_mosaic("LLLSS\nRRRRR", height_ratios=(2, 3)).values()
    _bars(latency, scenarios, [s.p99_ms for s in scenarios], "{:.1f} ms")
    latency.axvline(P99_TIMES_ALONE_MAX * alone.p99_ms, color="black", ls="--", lw=1)
    latency.set(title=f"service: p99 latency (dashed: {P99_TIMES_ALONE_MAX:g} times alone's)")
    beside = [fifo, tally]
    steps = [s.trainer_steps_per_second or 0.0 for s in beside]
    _bars(speed, beside, steps, "{:.0f}/s")
    speed.axvline(STEPS_SHARE_OF_FIFO_MIN * steps[0], color="black", ls="--", lw=1)
    speed.set(title=f"trainer: steps/s (dashed: {STEPS_SHARE_OF_FIFO_MIN:.0%} of fifo's)")
    for scenario in scenarios:
        arrival = [ms / 1e3 for ms in scenario.service["arrival_ms"]]
        requests.plot(
            *(arrival, scenario.service["latency_ms"], "."),
            ms=5,
            alpha=0.7,
            color=COLORS[scenario.name],
            label=scenario.title,
        )
    requests.set(xlabel="arrival (s)", ylabel="latency (ms)", yscale="log", title="every request")
    requests.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    requests.yaxis.set_major_formatter("{x:g}")
    requests.yaxis.set_minor_formatter(NullFormatter())
    requests.grid(alpha=0.3)
    requests.legend(loc="upper center", bbox_to_anchor=(0.5, -0.18), ncols=3, frameon=False)
    words = summary(state, alone, fifo, tally).replace(": p99", ":\np99")
    figure.suptitle(f"A service beside a trainer on {device}. {words}", fontsize=11)
    figure.savefig(path, dpi=120)
    plt.close(figure)


def _bars(axes: Any, scenarios: list[Scenario], values: list[float], text: str) -> None:
    names = [s.name for s in scenarios]
    bars = axes.barh(names, values, color=[COLORS[name] for name in names])
    axes.bar_label(bars, [text.format(value) for value in values], padding=3)
    axes.invert_yaxis()
    axes.set(xlim=(0, 1.25 * max(*values, 1e-9)))
    axes.spines[["top", "right"]].set_visible(False)
