"""A kernel that softgpu cannot run fails by itself, and `tally doctor` says why."""

from __future__ import annotations

import pytest
from support.daemon import Daemon
from support.toolchain import Builder


@pytest.mark.parametrize("job_class", ["best-effort", "high"])
def test_a_refused_kernel_is_named(daemon: Daemon, builder: Builder, job_class: str) -> None:
    daemon.ok(builder.get("refused"), job_class=job_class, name=f"refused-{job_class}")
    report = " ".join(daemon.run_tally("doctor").stdout.split())
    assert "textured" in report
    assert "runs not at all" in report
    assert "unsupported instruction 'tex.2d" in report
