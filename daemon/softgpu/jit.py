"""LLVM IR to object files. LLVM may end the process: for workers only."""

from __future__ import annotations

import threading
from functools import cache

import llvmlite.binding as llvm  # type: ignore[import-untyped]


class Jit:
    """LLVM for this machine."""

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

    def _machine(self) -> llvm.TargetMachine:
        target = llvm.Target.from_default_triple()
        return target.create_target_machine(
            cpu=self.cpu, features=self.features, opt=2, reloc="pic", codemodel="small", jit=True
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

    def optimized_text(self, text: str) -> str:
        with self.lock:
            return str(self.optimized(text))

    def assembly(self, text: str) -> str:
        with self.lock:
            return str(self.machine.emit_assembly(self.optimized(text)))


@cache
def jit() -> Jit:
    """The process's one Jit."""
    return Jit()
