"""Which devices tallyd runs on: what --device asks for, and what the machine has."""

from __future__ import annotations

from dataclasses import dataclass

from tally.client import paths
from tally.config import DeviceChoice, parse_device
from tally.errors import NoDeviceError

from .probe import Driver, probe


@dataclass(frozen=True, slots=True)
class Devices:
    """The decision, with its reason for people."""

    kind: str  # "cuda" or "soft"
    count: int
    reason: str
    driver: Driver | None  # what the probe found, if it was asked


def choose(text: str) -> Devices:
    """Decide. NoDeviceError if what is asked for is not there."""
    choice = parse_device(text)
    if choice.kind == "soft":
        return _soft(choice, "asked for", None)
    driver = probe()
    if driver.devices:
        names = ", ".join(driver.devices)
        reason = f"{driver.path or 'libcuda.so.1'} works and has {names}"
        return Devices("cuda", len(driver.devices), reason, driver)
    if choice.kind == "cuda":
        raise NoDeviceError(
            f"no CUDA device can be used: {driver.reason}; "
            "install or repair the driver, or use --device soft"
        )
    return _soft(choice, f"no CUDA device can be used: {driver.reason}", driver)


def _soft(choice: DeviceChoice, reason: str, driver: Driver | None) -> Devices:
    if paths.softgpu_library() is None:
        raise NoDeviceError(
            f"the software GPU (libtally_softgpu.so) is missing from the package, and {reason}; "
            "reinstall tally-gpu"
        )
    return Devices("soft", choice.count, reason, driver)
