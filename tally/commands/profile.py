"""`tally profile`: what is known of kernels' times, and how to forget it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from tally import render
from tally.config import default_state_dir
from tally.errors import TallyError
from tally.scheduler.limits import Limits
from tally.scheduler.plans import Measured, choose
from tally.scheduler.profiles import FILE_NAME, Profile, ProfileStore

STATE_DIR_HELP = "tallyd's state_dir [$TALLY_STATE_DIR, else where tallyd puts it]."


def _folder(state_dir: Path | None) -> Path:
    return state_dir or default_state_dir()


def _open(state_dir: Path | None, *, must_exist: bool) -> ProfileStore | None:
    path = _folder(state_dir) / FILE_NAME
    if not path.exists():
        if must_exist:
            raise TallyError(f"no profiles at {path}; is that tallyd's state_dir?")
        return None
    store = ProfileStore(path)
    if not store.on_disk:
        raise TallyError(f"cannot read profiles: {store.last_fault}")
    return store


def _describe(profile: Profile, turnaround_ns_max: int) -> dict[str, Any]:
    plan = choose(profile.record, turnaround_ns_max)
    names = [what.name.lower() for what in Measured]
    return {
        "gpu": profile.gpu,
        "code_hash": profile.code_hash,
        "kernel": profile.kernel,
        "shape": profile.shape,
        "plan": plan.kind.name.lower(),
        "turnaround_ns_max": turnaround_ns_max,
        **{f"{name}_ns": ns for name, ns in zip(names, profile.record.ns, strict=True)},
        **{f"{name}_runs": n for name, n in zip(names, profile.record.count, strict=True)},
        "signature": f"{profile.record.signature:016x}",
        "blocks": profile.record.blocks,
        "stop_error_ns": profile.record.error_ns,
    }


def _print_tables(profiles: list[Profile], bounds: Mapping[str, int]) -> None:
    """One for each GPU: its bound is what its plans come from."""
    for index, (gpu, bound) in enumerate(bounds.items()):
        if index:
            click.echo("")
        click.echo(f"{gpu}: plans for a turnaround of at most {render.time_ns(bound)}\n")
        render.show(table_of([profile for profile in profiles if profile.gpu == gpu], bound))


def table_of(profiles: list[Profile], turnaround_ns_max: int) -> render.Table:
    """Of one GPU."""
    columns = ("KERNEL", "GRID AND BLOCK", "PLAN", "RUNS", "WHOLE", "GUARDED", "STOPS IN")
    table = render.table(columns, right=columns[3:], keys=columns[:2], cut=columns[:1])
    for profile in profiles:
        row, record = _describe(profile, turnaround_ns_max), profile.record
        known = [ns if n else None for ns, n in zip(record.ns, record.count, strict=True)]
        table.add_row(
            render.plain(profile.kernel) or f"{record.signature:016x}",
            profile.shape,
            str(row["plan"]),
            str(sum(record.count[:3])),
            render.time_ns(known[Measured.WHOLE]),
            render.time_ns(known[Measured.GUARDED]),
            render.time_ns(known[Measured.STOP]),
        )
    return table


@click.group()
@click.option(
    "--state-dir",
    envvar="TALLY_STATE_DIR",
    type=click.Path(path_type=Path),
    metavar="PATH",
    help=STATE_DIR_HELP,
)
@click.pass_context
def command(context: click.Context, state_dir: Path | None) -> None:
    """Show or clear what Tally has measured of kernels.

    From these times tallyd decides how a best-effort kernel is run, so that it gets out of the way
    in time: whole, in slices, or guarded. They are kept between starts.
    """
    context.obj = state_dir


@command.command(
    epilog="""\
Columns: PLAN is how the kernel is run as best-effort work beside high jobs; RUNS how often it was
measured; WHOLE and GUARDED the time of a launch as it is and in the form that can be stopped;
STOPS IN how long that took when it was."""
)
@click.option("--gpu", metavar="NAME", help="Only those of this GPU.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_obj
def show(state_dir: Path | None, gpu: str | None, as_json: bool) -> None:
    """List profiles: kernel, plan, and the times it rests on.

    A plan depends on the bound on turnaround too: the one that tallyd last had for the GPU. While a
    job has the GPU to itself, almost every kernel runs whole.
    """
    store = _open(state_dir, must_exist=False)
    profiles = store.load(gpu) if store else []
    kept = store.bounds() if store else {}
    usual = Limits.default().turnaround_ns_max  # for what an older tallyd has left
    bounds = {gpu: kept.get(gpu, usual) for gpu in sorted({p.gpu for p in profiles})}
    if as_json:
        rows = [_describe(profile, bounds[profile.gpu]) for profile in profiles]
        click.echo(json.dumps(rows, indent=1))
    elif profiles:
        _print_tables(profiles, bounds)
    else:
        click.echo(f"no profiles {f'of {gpu} ' if gpu else ''}in {_folder(state_dir)}")


@command.command(short_help="Forget profiles.")
@click.option("--gpu", metavar="NAME", help="Only those of this GPU.")
@click.pass_obj
def clear(state_dir: Path | None, gpu: str | None) -> None:
    """Forget profiles; a running tallyd measures again after its next start."""
    store = _open(state_dir, must_exist=True)
    assert store is not None
    faults = store.faults
    count = store.clear(gpu)
    if store.faults > faults:
        raise TallyError(f"cannot clear profiles: {store.last_fault}")
    click.echo(f"{count} profile{'s' * (count != 1)} forgotten")
