"""A short run of the fuzzer; `make fuzz` sends a million messages."""

from __future__ import annotations

import os

import pytest
from support import fuzz
from support.daemon import Daemon
from support.toolchain import Builder

pytestmark = pytest.mark.timeout(180)


def test_fuzz_both_sockets(builder: Builder) -> None:
    with Daemon() as daemon:
        assert fuzz.run(daemon, 6000, int(os.environ.get("SEED", "1"))) >= 6000
