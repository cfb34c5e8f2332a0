"""Does the machine's CUDA driver work? Asked in a process of its own, which may hang or crash.

`python -m tally.daemon.supervisor.probe` prints one line of JSON. It goes through ctypes, so that
discovery needs nothing installed.
"""

from __future__ import annotations

import ctypes
import json
import os
import subprocess
import sys
from dataclasses import dataclass

from tally.client.environment import clean_environment

TIMEOUT_SECONDS = 20.0


@dataclass(frozen=True, slots=True)
class Driver:
    """What the probe found: device names if the driver works, else the reason why it does not."""

    devices: tuple[str, ...]
    version: int  # as cuDriverGetVersion reports it; 0 unknown
    path: str  # of the library that was loaded; empty if none
    reason: str  # why there is no device; empty if there is one


def probe() -> Driver:
    """Run the probe. Never raises: what goes wrong is the result's reason."""
    # -P: a `tally` in the current folder, such as a checkout's, is not this package.
    command = [sys.executable, "-P", "-m", "tally.daemon.supervisor.probe"]
    try:
        done = subprocess.run(
            command,
            env=clean_environment(os.environ),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=TIMEOUT_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return Driver((), 0, "", f"the driver did not answer within {TIMEOUT_SECONDS:g} s")
    if done.returncode != 0:
        return Driver((), 0, "", f"the driver ended the probing process (status {done.returncode})")
    found = json.loads(done.stdout)
    return Driver(tuple(found["devices"]), found["version"], found["path"], found["reason"])


def _error_name(driver: ctypes.CDLL, result: int) -> str:
    text = ctypes.c_char_p()
    if driver.cuGetErrorName(result, ctypes.byref(text)) == 0 and text.value:
        return text.value.decode()
    return f"CUDA error {result}"


def _loaded_path() -> str:
    with open("/proc/self/maps", encoding="utf-8", errors="replace") as maps:
        for line in maps:
            path = line.rstrip("\n").partition("/")[2]
            if "libcuda.so" in path:
                return "/" + path
    return ""


def _names(driver: ctypes.CDLL) -> tuple[list[str], str]:
    """Device names, and the reason if a call failed."""
    if result := driver.cuInit(0):
        return [], f"cuInit: {_error_name(driver, result)}"
    count = ctypes.c_int()
    if result := driver.cuDeviceGetCount(ctypes.byref(count)):
        return [], f"cuDeviceGetCount: {_error_name(driver, result)}"
    names = []
    for index in range(count.value):
        device = ctypes.c_int()
        name = ctypes.create_string_buffer(256)
        if result := driver.cuDeviceGet(ctypes.byref(device), index):
            return [], f"cuDeviceGet: {_error_name(driver, result)}"
        driver.cuDeviceGetName(name, len(name), device)
        names.append(name.value.decode("utf-8", "replace"))
    return names, "" if names else "the driver reports no device"


def main() -> None:
    """Print what probe() reads."""
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError as error:
        found = {"devices": [], "version": 0, "path": "", "reason": f"no driver: {error}"}
    else:
        version = ctypes.c_int()
        driver.cuDriverGetVersion(ctypes.byref(version))
        names, reason = _names(driver)
        found = {
            "devices": names,
            "version": version.value,
            "path": _loaded_path(),
            "reason": reason,
        }
    print(json.dumps(found))


if __name__ == "__main__":
    main()
