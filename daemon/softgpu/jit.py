"""LLVM IR to machine code in this process."""

from __future__ import annotations

import hashlib
import threading
from functools import cache

import llvmlite  # type: ignore[import-untyped]
import llvmlite.binding as llvm  # type: ignore[import-untyped]


class Jit:
    """The process's code; what is loaded stays for its life."""

    def __init__(self, opt: int = 2) -> None:
        llvm.initialize_native_target()
        llvm.initialize_native_asmprinter()
        llvm.initialize_native_asmparser()
        self.lock = threading.Lock()  # LLVM's global context is one thread's at a time
        self.cpu = llvm.get_host_cpu_name()
        self.features = llvm.get_host_cpu_features().flatten()
        # x86: LLVM would split vectors in halves to keep the clock up; here width is all there is.
        if "+avx512f" in self.features:
            self.features += ",-prefer-256-bit"
        # LLVM holds some CPUs' gathers for slow; they beat a call for each.
        self.gathers = "+avx2" in self.features
        if self.gathers:
            self.features += ",+fast-gather,-prefer-no-gather"
        self.opt = opt
        self.machine = self._machine()
        self.engine = llvm.create_lljit_compiler(self._machine(), suppress_errors=True)
        self.loaded: list[object] = []

    def _machine(self) -> llvm.TargetMachine:
        target = llvm.Target.from_default_triple()
        return target.create_target_machine(
            cpu=self.cpu, features=self.features, opt=2, reloc="pic", codemodel="small", jit=True
        )

    @property
    def identity(self) -> str:
        """What machine code depends on besides its source."""
        return (
            f"{llvmlite.__version__} {llvm.llvm_version_info} {self.cpu} {self.features} {self.opt}"
        )

    def optimized(self, text: str) -> llvm.ModuleRef:
        """Parse and optimize; the caller holds the lock."""
        module = llvm.parse_assembly(text)
        module.triple = self.machine.triple
        module.data_layout = str(self.machine.target_data)
        options = llvm.create_pipeline_tuning_options(speed_level=self.opt)
        options.loop_vectorization = False
        options.slp_vectorization = False
        options.loop_unrolling = False
        builder = llvm.create_pass_builder(self.machine, options)
        builder.getModulePassManager().run(module, builder)
        return module

    def compile(self, text: str) -> bytes:
        """IR to an object file."""
        with self.lock:
            return bytes(self.machine.emit_object(self.optimized(text)))

    def assembly(self, text: str) -> str:
        with self.lock:
            return str(self.machine.emit_assembly(self.optimized(text)))

    def load(self, image: bytes, symbol: str) -> int:
        """Link an object file into the process; the address of its symbol."""
        with self.lock:
            name = f"{hashlib.sha256(image).hexdigest()[:16]}-{len(self.loaded)}"
            library = (
                llvm.JITLibraryBuilder()
                .add_object_img(image)
                .add_current_process()
                .export_symbol(symbol)
                .link(self.engine, name)
            )
            self.loaded.append(library)
            return int(library[symbol])


@cache
def jit() -> Jit:
    """The process's one Jit."""
    return Jit()
