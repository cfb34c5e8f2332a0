"""Programs' code in an executor: nobody's holds up another's, and nothing stays behind."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
from support.daemon import Daemon, read_line
from support.executor import ExecutorProcess
from support.toolchain import Builder

pytestmark = [pytest.mark.beside, pytest.mark.timeout(300)]

MODULES, SESSIONS = 20, 6
GROWTH_BYTES_MAX = 24 << 20
LINES = 8000  # a dozen times as many are compiled for many seconds
PTX = """.version 8.0
.target sm_80
.address_size 64
.visible .entry k(.param .u64 out)
{{
.reg .b64 %d0; .reg .b32 %r0;
ld.param.u64 %d0, [out];
mov.u32 %r0, {0};
st.global.u32 [%d0], %r0;
ret;
}}
"""


def test_a_high_job_is_compiled_for_while_others_are(builder: Builder, tmp_path: Path) -> None:
    program = builder.get("vector_add")
    environment = {"TALLY_CACHE_DIR": str(tmp_path), "TALLY_STATE_DIR": str(tmp_path / "state")}
    with Daemon("--code-workers-max", "1", env=environment) as daemon:
        daemon.ok(builder.get("tiny"), 1)
        other = daemon.start(builder.get("heavy"), "compile", 1, LINES, name="heavy")
        read_line(other, "ready")
        assert daemon.ok(program, job_class="high") == "ok\n"
        (heavy,) = (job for job in daemon.stats()["jobs"] if job["name"] == "heavy")
        assert heavy["stats"]["counters"]["launches"] == 0, "it was compiled for first"
        other.kill()
        other.communicate()


def resident_bytes(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4096


@pytest.mark.parametrize("kind", ["high", "best-effort"])
def test_the_executor_does_not_grow_with_what_was_loaded(kind: str) -> None:
    with ExecutorProcess("--soft-workers=1") as executor:
        pid = executor.wait_event("ready")["pid"]
        sizes = []
        for session in range(SESSIONS):
            with executor.client(kind=kind) as client:
                out = client.alloc(4)
                for number in range(MODULES):
                    value = 1 + session * MODULES + number
                    function, _ = client.function(client.load(PTX.format(value).encode()), "k")
                    client.launch(function, struct.pack("Q", out))
                    assert client.read(out, 4) == struct.pack("I", value)
            sizes.append(resident_bytes(pid))
        assert sizes[-1] - sizes[1] < GROWTH_BYTES_MAX, sizes
