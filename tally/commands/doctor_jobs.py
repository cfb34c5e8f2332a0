"""What `tally doctor` says of jobs: how much of each can be stopped, and what its user was told."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

JOBS_SHOWN = 20  # the latest
STOPPABLE_ENOUGH = 0.9  # of a job's device time; below it a service may have to wait


class Line(NamedTuple):
    """level: ok or note."""

    level: str
    subject: str
    text: str


def lines(jobs: Sequence[Mapping[str, Any]], dry: bool) -> Iterator[Line]:
    """Of the report's jobs, oldest first. dry: launches are skipped, so none was rewritten."""
    for job in jobs[-JOBS_SHOWN:]:
        subject = f"job {job['name']}"
        if job["class"] == "best-effort" and job["launches"]:
            yield _skipped(subject, job) if dry else _stoppable(subject, job)
        for notice, count in job["notices"].items():
            times = "" if count == 1 else f" ({count} processes)"
            yield Line("note", subject, f"{notice}{times}")
    if len(jobs) > JOBS_SHOWN:
        yield Line("ok", "jobs", f"{len(jobs) - JOBS_SHOWN} earlier ones are not shown")


def _skipped(subject: str, job: Mapping[str, Any]) -> Line:
    text = f"{job['launches']} launches checked and skipped (soft_dry): nothing was computed"
    return Line("note", subject, text)


def _share(part: int, whole: int) -> float:
    return min(1.0, part / whole) if whole else 0.0


def _percent(share: float) -> str:
    """Never 100% of what is not all, nor 0% of what is some."""
    percent = round(100 * share)
    if share < 1 and percent == 100:
        return "over 99%"
    return "under 1%" if share > 0 and percent == 0 else f"{percent}%"


def _stoppable(subject: str, job: Mapping[str, Any]) -> Line:
    launches = _share(job["launches_stoppable"], job["launches"])
    time = _share(job["stoppable_ns"], job["scheduled_ns"])
    text = (
        f"{_percent(launches)} of {job['launches']} launches and {_percent(time)} of "
        "device time can be stopped at a block's end"
    )
    return Line("ok" if time >= STOPPABLE_ENOUGH else "note", subject, text)
