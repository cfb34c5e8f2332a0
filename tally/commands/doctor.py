"""`tally doctor`: what was found, what is missing, and how to fix it."""

from __future__ import annotations

import json
import os
import platform
import resource
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import click

import tally
from tally import render
from tally.client import paths, protocol
from tally.client.api import connect
from tally.errors import ConfigError, TallyError

from . import doctor_jobs

OPEN_FILES_MIN = 4096
MEMLOCK_BYTES_MIN = 64 << 20
NOTES_SHOWN = 20


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report. level: ok, note (works without), or problem."""

    level: str
    subject: str
    text: str
    remedy: str = ""


def _ok(subject: str, text: str) -> Finding:
    return Finding("ok", subject, text)


def _packaged() -> Iterator[Finding]:
    """Files that ship in the package."""
    yield _ok("tally", f"{tally.__version__}, Python {platform.python_version()}, {sys.executable}")
    for subject, path in (
        ("shim", paths.shim()),
        ("softgpu", paths.softgpu_library()),
        ("systemd unit", paths.unit_file()),
    ):
        if path:
            yield _ok(subject, str(path))
        else:
            yield Finding("problem", subject, "missing from the package", "reinstall tally-gpu")
    try:
        libzmq = paths.libzmq(os.environ)
    except ConfigError as error:
        yield Finding("problem", "libzmq", str(error), "unset it, or set it to a libzmq.so.5")
        return
    if libzmq:
        yield _ok("libzmq", str(libzmq))
    else:
        remedy = "install pyzmq from PyPI, or set TALLY_LIBZMQ to a libzmq.so.5"
        yield Finding("problem", "libzmq", "pyzmq has no shared library", remedy)


def _kernel() -> Iterator[Finding]:
    """Limits of the kernel that Tally runs into."""
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    many = files == resource.RLIM_INFINITY or files >= OPEN_FILES_MIN
    remedy = "ulimit -n 65536 before starting tallyd, or LimitNOFILE= in its unit"
    yield Finding("ok" if many else "note", "open files", f"{files} here", "" if many else remedy)
    locked, _ = resource.getrlimit(resource.RLIMIT_MEMLOCK)
    enough = locked == resource.RLIM_INFINITY or locked >= MEMLOCK_BYTES_MIN
    text = "unlimited" if locked == resource.RLIM_INFINITY else render.size(locked)
    remedy = "ulimit -l unlimited before starting tallyd, or LimitMEMLOCK= in its unit"
    yield Finding("ok" if enough else "note", "locked memory", text, "" if enough else remedy)


def _driver() -> Iterator[Finding]:
    """The machine's CUDA driver and GPUs, as a probe of our own sees them."""
    from tally.daemon.supervisor.probe import probe

    driver = probe()
    if driver.devices:
        version = f"{driver.version // 1000}.{driver.version % 1000 // 10}"
        yield _ok("CUDA driver", f"{driver.path} (CUDA {version})")
        for index, name in enumerate(driver.devices):
            yield _ok(f"GPU {index}", name)
    else:
        remedy = (
            "install NVIDIA's driver to use a GPU; without one, tallyd runs on its software GPU"
        )
        yield Finding("note", "CUDA driver", driver.reason, remedy)


def _daemon(runtime_dir: Path) -> Iterator[Finding]:
    """tallyd, its executors, and what programs called in vain."""
    try:
        with connect(runtime_dir) as client:
            report = client.doctor()
    except TallyError as error:
        yield Finding("problem", "tallyd", str(error), "see `tallyd --help`")
        return
    version = f"{report['version']} (protocol {report['protocol']}, pid {report['pid']})"
    if report["version"] == tally.__version__ and report["protocol"] == protocol.VERSION:
        yield _ok("tallyd", f"{version} in {runtime_dir}")
    else:
        yield Finding(
            "problem", "tallyd", f"{version}, tally is {tally.__version__}", "restart tallyd"
        )
    yield _ok("device", f"{report['kind']} ({report['reason']})")
    yield from (_executor(entry) for entry in report["devices"])
    for entry in report["devices"]:
        yield from _rescued(entry["schedule"] or {})
        yield from _held_up(entry["schedule"] or {})
    yield from _cpu(report.get("cpu"))
    yield from _jobs(report)
    yield from _rewrites(report)
    for symbol, count in report["unsupported"].items():
        times = "once" if count == 1 else f"{count} times"
        yield Finding("note", symbol, f"not supported by Tally, called {times}")


def _cpu(cpu: Mapping[str, Any] | None) -> Iterator[Finding]:
    """How jobs give way on the CPU; an older tallyd does not say."""
    if cpu is None:
        return
    yield Finding("note" if cpu["remedy"] else "ok", "CPU", cpu["text"], cpu["remedy"])
    for job in cpu["outside"]:
        text = f"job {job['job']} ({job['name']}) gives way by niceness alone: {job['reason']}"
        yield Finding("note", "CPU", text)


def _jobs(report: Mapping[str, Any]) -> Iterator[Finding]:
    dry = bool(report.get("dry"))
    for line in doctor_jobs.lines(report.get("jobs", []), dry):  # an older tallyd does not say
        yield Finding(*line)


def _rewrites(report: Mapping[str, Any]) -> Iterator[Finding]:
    """Best-effort jobs' code that cannot give way within one block, and why."""
    modules, refused = report["modules"], report["rewrites_refused"]
    impossible = report.get("rewrites_impossible", 0)
    if refused:
        text = (
            f"{refused} of best-effort jobs' {modules} modules could not be rewritten: "
            "their kernels run whole"
        )
        yield Finding("note", "rewriting", text)
    if impossible:
        text = (
            f"{impossible} of best-effort jobs' {modules} modules hold nothing that may be "
            "rewritten: their kernels run whole"
        )
        yield Finding("note", "rewriting", text)
    if rewrites := report.get("rewrites"):
        yield from _unwilling(rewrites["notes"], rewrites["more"])


def _rescued(schedule: Mapping[str, Any]) -> Iterator[Finding]:
    """Kernels that the watchdog found; an older executor does not say."""
    for entry in schedule.get("rescued", []):
        text = (
            f"did not stop when told to (session {entry['session']}, {entry['job']}): its blocks "
            "wait for one another. It runs whole from now on"
        )
        yield Finding("note", entry["kernel"], text)


def _held_up(schedule: Mapping[str, Any]) -> Iterator[Finding]:
    """Who waits for whom; an older executor does not say."""
    for entry in schedule.get("held_up", []):
        what = f"kernel {entry['kernel']}" if entry["kernel"] else "work"
        text = (
            f"session {entry['session']} has waited for its turn for "
            f"{entry['waited_ns'] / 1e9:.0f} s: {what} of session {entry['by_session']} "
            f"({entry['by_job']}) has been with the device for {entry['stayed_ns'] / 1e9:.0f} s"
        )
        remedy = "if that kernel waits for one of this job, name it in `waiting_kernels`"
        yield Finding("note", f"job {entry['job']}", text, remedy)


def _unwilling(notes: Sequence[Mapping[str, str]], more: int) -> Iterator[Finding]:
    for note in notes[:NOTES_SHOWN]:
        what = note["kernel"] or f"module {note['module']}"
        yield Finding("note", what, f"runs {note['runs']}: {note['reason']}")
    more += max(0, len(notes) - NOTES_SHOWN)
    if more:
        yield Finding("note", "rewriting", f"{more} more kernels run whole or in slices only")


def _executor(executor: Mapping[str, Any]) -> Finding:
    subject = f"executor {executor['index']}"
    text = f"{executor['name'] or executor['kind'] or 'no device'}, {executor['state']}"
    if executor["restarts"]:
        text += f", restarted {executor['restarts']} times (last: {executor['last_failure']})"
    if executor["state"] == "ready":
        return Finding("note" if executor["restarts"] else "ok", subject, text)
    return Finding("problem", subject, text, "see tallyd's log")


@click.command()
@click.option("--json", "as_json", is_flag=True, help="The report as JSON.")
@click.pass_context
def command(context: click.Context, as_json: bool) -> None:
    """Check this machine and say what is missing and how to get it.

    Also tells how much of each job's work can be stopped for a service, which driver calls of
    programs are unsupported, and what programs were told. Exit status 1 if there is a problem.
    """
    findings = [*_packaged(), *_kernel(), *_driver(), *_daemon(context.obj)]
    if as_json:
        click.echo(json.dumps({"findings": [asdict(finding) for finding in findings]}, indent=2))
    else:
        _show(findings)
    context.exit(1 if any(finding.level == "problem" for finding in findings) else 0)


def _show(findings: list[Finding]) -> None:
    styles = {"ok": "green", "note": "yellow", "problem": "bold red"}
    table = render.table(("", "WHAT", "FOUND"), wrap=("FOUND",))
    for finding in findings:
        mark = f"[{styles[finding.level]}]{finding.level}[/]"
        table.add_row(mark, render.plain(finding.subject), render.plain(finding.text))
        if finding.remedy:
            table.add_row("", "", f"-> {render.plain(finding.remedy)}")
    render.show(table)
    problems = sum(finding.level == "problem" for finding in findings)
    click.echo(
        f"{problems} problem{'s' * (problems != 1)} found" if problems else "no problem found"
    )
