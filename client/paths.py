"""Where things are: the runtime folder, its sockets, and the files that ship in the package."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import tally
from tally.errors import ConfigError

# A socket's path must fit struct sockaddr_un: 108 bytes, of which executors append up to 46.
RUNTIME_PATH_BYTES_MAX = 60
MACHINE = Path("/run/tally")  # the machine's own tallyd's


def default_runtime_dir(environ: Mapping[str, str], uid: int) -> Path:
    """The runtime folder when nothing names one. The shim has the same rule (native/wire)."""
    if xdg := environ.get("XDG_RUNTIME_DIR"):
        return Path(xdg) / "tally"
    return MACHINE if uid == 0 else Path(f"/tmp/tally-{uid}")


def client_runtime_dir(environ: Mapping[str, str] = os.environ, uid: int | None = None) -> Path:
    """Where a client looks for tallyd: the user's own if its socket is there, else the machine's.

    `tally run` passes the answer on as TALLY_RUNTIME_DIR, so that the shim need not search.
    """
    if named := environ.get("TALLY_RUNTIME_DIR"):
        return Path(named).absolute()  # a program may go to another folder
    own = default_runtime_dir(environ, os.getuid() if uid is None else uid)
    if not os.path.exists(control_socket(own)) and _may_exist(control_socket(MACHINE)):
        return MACHINE
    return own


def _may_exist(path: Path) -> bool:
    """Also of what is in a folder that others may not look into: connecting tells what to do."""
    try:
        path.stat()
    except PermissionError:
        return True
    except OSError:
        return False
    return True


def control_socket(runtime_dir: Path) -> Path:
    """tallyd's control socket."""
    return runtime_dir / "control.sock"


def packaged_file(relative: str) -> Path | None:
    """A file that ships in the package, in a regular or an editable install; None if missing.

    An editable install spreads the package over several folders: Python files stay in the checkout,
    built ones lie in site-packages.
    """
    for folder in tally.__path__:
        candidate = Path(folder) / relative
        if candidate.is_file():
            return candidate
    return None


def shim() -> Path | None:
    """The libcuda.so.1 that programs are given."""
    return packaged_file("lib/libcuda.so.1")


def client_folders(environ: Mapping[str, str]) -> list[Path]:
    """Folders of the files that a program loads: the shim's, libzmq's with what it needs beside it.

    Needs pyzmq to be imported. Without a file, its folder is left out.
    """
    files = [path for path in (shim(), libzmq(environ)) if path and path.is_absolute()]
    return list(dict.fromkeys(path.parent for path in files))


def softgpu_library() -> Path | None:
    """The software GPU's driver library."""
    return packaged_file("lib/libtally_softgpu.so")


def unit_file() -> Path | None:
    """The systemd unit."""
    return packaged_file("daemon/tallyd.service") or packaged_file("tallyd.service")


def libzmq(environ: Mapping[str, str]) -> Path | None:
    """The libzmq for native code: the one that TALLY_LIBZMQ names, else pyzmq's.

    Needs pyzmq to be imported. ConfigError if what is named is not there.
    """
    named = environ.get("TALLY_LIBZMQ")
    if not named:
        return loaded_libzmq()
    if "/" in named and not os.path.isfile(named):  # a bare name is for the linker to find
        raise ConfigError(f"environment variable TALLY_LIBZMQ: there is no file {named}")
    return Path(named)


def loaded_libzmq() -> Path | None:
    """The libzmq that this process has loaded (pyzmq brings one), for native code to load as well.

    Asked of the kernel, so that wheels with a bundled library and distributions' packages that use
    the system's are found in one way. None if pyzmq is not imported, or contains libzmq.
    """
    with open("/proc/self/maps", encoding="utf-8", errors="surrogateescape") as maps:
        for line in maps:
            path = line.rstrip("\n").partition("/")[2]
            if "libzmq" in path.rpartition("/")[2]:
                return Path("/" + path)
    return None
