"""softgpu's modules in the executor: described and compiled by workers, loaded here.

Nothing of what a program sent is looked at here but its bytes. The same text is one module for all
sessions; when the last of them has unloaded it, its code goes. What workers made is kept on disk.
"""

from __future__ import annotations

import ctypes
import hashlib
import importlib.metadata
import json
import logging
import platform
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..kept_files import KeptFiles
from ..workers import LeftError, Pool, WorkerError
from . import abi
from .c_structs import COMPILER_VERSION, RESOLVE, Entry, Kernel, SoftCode
from .errors import (
    CUDA_ERROR_CONTEXT_IS_DESTROYED,
    CUDA_ERROR_OUT_OF_MEMORY,
    CUDA_ERROR_UNKNOWN,
    PtxError,
    UnsupportedError,
)
from .loader import Loaded, LoadError

log = logging.getLogger("tallyd.softgpu")

# Told of launches of kernels that cannot run: the module's digest, the kernel, and why.
Refused = Callable[[str, str, str], None] | None
WORK_MODULE = "tally.daemon.softgpu.work"
_KERNELS_BITS = 20  # of a token: which kernel; the rest: which module
_LOOK_SECONDS = 0.05


def _identity() -> str:
    """What machine code depends on besides its source."""
    with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:
        lines = {line for line in file if line.startswith(("model name", "flags"))}
    cpu = hashlib.sha256("".join(sorted(lines)).encode()).hexdigest()
    version = importlib.metadata.version("llvmlite")
    return f"{COMPILER_VERSION} {abi.description()} {version} {platform.machine()} {cpu}"


class ObjectCache:
    """What workers made, on disk; each file starts with the digest of what follows."""

    def __init__(self, files: KeptFiles) -> None:
        self.files = files
        self._identity = _identity()

    def _key(self, *parts: str) -> str:
        return hashlib.sha256("\0".join((self._identity, *parts)).encode()).hexdigest()

    def get(self, *parts: str) -> bytes | None:
        """What was put under the same parts, or None."""
        key = self._key(*parts)
        content = self.files.get(key)
        if content is None:
            return None
        if hashlib.sha256(content[32:]).digest() != content[:32]:
            self.files.remove(key)
            return None
        return content[32:]

    def put(self, image: bytes, *parts: str) -> None:
        """Keep it, if that works."""
        self.files.put(self._key(*parts), hashlib.sha256(image).digest() + image)


class Once:
    """Work that is done by whoever comes first; the others wait, and do it if that one left."""

    def __init__(self, leaving: Callable[[], bool]) -> None:
        self._leaving = leaving
        self._changed = threading.Condition()
        self._going_on: set[Any] = set()

    def run(self, key: Any, known: Callable[[], Any], work: Callable[[], Any]) -> Any:
        """known() if that is not None, else work(), which makes it known. LeftError."""
        with self._changed:
            while (found := known()) is None and key in self._going_on:
                if self._leaving():
                    raise LeftError
                self._changed.wait(_LOOK_SECONDS)
            if found is not None:
                return found
            self._going_on.add(key)
        try:
            return work()
        finally:
            with self._changed:
                self._going_on.discard(key)
                self._changed.notify_all()


class Module:
    """One PTX text, while some session has it loaded."""

    def __init__(self, number: int, digest: str, text: bytes, head: dict[str, Any], blob: bytes):
        self.number = number
        self.digest = digest
        self.text = text
        self.users = 0
        self.refused: dict[str, str] = head["refused"]  # why, by the kernel's number
        self._kernels = head["kernels"]
        self.loaded: dict[tuple[int, int], Loaded] = {}  # by kernel and variant
        self.failed: dict[tuple[int, int], PtxError] = {}
        self._memory = ctypes.create_string_buffer(blob, len(blob))
        base = ctypes.addressof(self._memory)
        words = memoryview(self._memory).cast("B")[: len(blob) // 8 * 8].cast("Q")
        first = head["pointers"] // 8
        for slot in words[first : first + head["pointer_count"]]:
            words[slot // 8] += base
        self.kernel_count = head["kernel_count"]
        for index in range(self.kernel_count):
            at = head["entries"] + index * ctypes.sizeof(Entry)
            entry = Entry.from_buffer(self._memory, at)
            entry.resolve = _resolver
            entry.token = number << _KERNELS_BITS | index
        self.code = SoftCode(
            base + head["kernels"], self.kernel_count, head["global_count"],
            base + head["globals"], base + head["image"], head["globals_bytes"],
            base + head["relocations"], head["relocation_count"], None, head["image_bytes"],
        )  # fmt: skip
        self.address = ctypes.addressof(self.code)

    def name(self, kernel: int) -> str:
        """A kernel's, by its number."""
        at = self._kernels + kernel * ctypes.sizeof(Kernel)
        raw: bytes = Kernel.from_buffer(self._memory, at).name
        return raw.decode("utf-8", "replace")

    def unload(self) -> None:
        """Give back all code."""
        for loaded in self.loaded.values():
            loaded.unload()
        self.loaded.clear()


class Modules:
    """All modules of the process. Methods may be called from any thread."""

    def __init__(
        self,
        pool: Pool,
        folder: Path | None,
        bytes_max: int,
        *,
        leaving: Callable[[], int],
        urgent: Callable[[], int],
        refused: Refused = None,
    ) -> None:
        """leaving, urgent: of the session for which the calling thread works. refused: told of
        launches of kernels that cannot run: the module's digest, the kernel's name, and why."""
        self._pool = pool
        self._cache = ObjectCache(KeptFiles(folder, ".o", bytes_max)) if folder else None
        self._urgent = urgent
        self.refused = refused
        self._lock = threading.Lock()
        self._by_digest: dict[str, Module] = {}
        self._by_number: dict[int, Module] = {}
        self._by_address: dict[int, Module] = {}
        self._count = 0
        self._once = Once(lambda: bool(leaving()))

    # ---- loading and unloading ------------------------------------------------------------------

    def load(self, text: bytes) -> Module:
        """The module of a text, with one more user. PtxError, LeftError."""
        digest = hashlib.sha256(text).hexdigest()
        return self._once.run(  # type: ignore[no-any-return]
            digest, lambda: self._use(digest), lambda: self._describe(digest, text)
        )

    def _use(self, digest: str) -> Module | None:
        with self._lock:
            module = self._by_digest.get(digest)
            if module is not None:
                module.users += 1
            return module

    def _describe(self, digest: str, text: bytes) -> Module:
        kept = self._cache.get("module", digest) if self._cache else None
        if kept is None:
            head, blob = self._work("describe", {"digest": digest}, text)
            kept = json.dumps(head).encode() + b"\n" + blob
            if self._cache:
                self._cache.put(kept, "module", digest)
        line, _, blob = kept.partition(b"\n")
        with self._lock:
            self._count += 1
            number = self._count
        module = Module(number, digest, text, json.loads(line), blob)
        module.users = 1
        with self._lock:
            self._by_digest[digest] = self._by_number[module.number] = module
            self._by_address[module.address] = module
        return module

    def release(self, address: int) -> None:
        """A user of the module whose code is described there is gone, and nothing of it runs."""
        with self._lock:
            module = self._by_address[address]
            module.users -= 1
            if module.users:
                return
            del self._by_digest[module.digest], self._by_number[module.number]
            del self._by_address[address]
        module.unload()

    # ---- code -----------------------------------------------------------------------------------

    def resolve(self, token: int, variant: int) -> int:
        """The address of a kernel's function for blocks of a kind. PtxError, LeftError."""
        with self._lock:
            module = self._by_number[token >> _KERNELS_BITS]
        kernel = token & ((1 << _KERNELS_BITS) - 1)
        self._refuse(module, kernel)
        key = (kernel, variant)

        def known() -> Loaded | None:
            if key in module.failed:
                raise module.failed[key]
            return module.loaded.get(key)

        loaded = self._once.run(
            (module.number, key), known, lambda: self._compile(module, kernel, variant)
        )
        return int(loaded.entry)

    def _refuse(self, module: Module, kernel: int) -> None:
        if why := module.refused.get(str(kernel)):
            if self.refused is not None:
                self.refused(module.digest, module.name(kernel), why)
            raise UnsupportedError(0, why)

    def _compile(self, module: Module, kernel: int, variant: int) -> Loaded:
        parts = ("kernel", module.digest, str(kernel), str(variant))
        try:
            image = self._cache.get(*parts) if self._cache else None
            if image is None:
                head = {"digest": module.digest, "kernel": kernel, "variant": variant}
                _, image = self._work("compile", head, module.text)
                if self._cache:
                    self._cache.put(image, *parts)
            module.loaded[kernel, variant] = Loaded(image)
        except LoadError as error:
            raise PtxError(0, str(error), CUDA_ERROR_OUT_OF_MEMORY) from None
        except PtxError as error:
            module.failed[kernel, variant] = error
            if self.refused is not None:
                self.refused(module.digest, module.name(kernel), str(error))
            raise
        return module.loaded[kernel, variant]

    def _work(self, work: str, head: dict[str, Any], text: bytes) -> tuple[dict[str, Any], bytes]:
        try:
            answer, made = self._pool.run(work, head, text, urgent=bool(self._urgent()))
        except WorkerError as error:
            log.warning("module %s: compiling it %s", head["digest"][:12], error)
            raise PtxError(0, f"compiling it {error}", CUDA_ERROR_OUT_OF_MEMORY) from None
        if refused := answer.get("error"):
            raise PtxError(int(refused["line"]), str(refused["message"]), int(refused["result"]))
        return answer, made


# ---- resolving from C ----------------------------------------------------------------------------

_modules: Modules | None = None


def use(modules: Modules) -> None:
    """Let these be the modules that native/softgpu asks for code."""
    global _modules
    _modules = modules


def _resolve(token: int, variant: int, code: ctypes._Pointer[ctypes.c_void_p]) -> int:
    """Called by native/softgpu/block/block.c, on any thread."""
    try:
        assert _modules is not None
        code[0] = _modules.resolve(token, variant)
    except PtxError as error:
        return error.result
    except LeftError:
        return CUDA_ERROR_CONTEXT_IS_DESTROYED
    except Exception:  # a border: C must get a code, whatever happened
        log.exception("a kernel cannot be compiled")
        return CUDA_ERROR_UNKNOWN
    return 0


_resolver = RESOLVE(_resolve)
