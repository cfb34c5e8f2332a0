"""Reads CUDA's cuda.h and cudaTypedefs.h into a Table. Needs a C compiler and pycparser."""

from __future__ import annotations

import copy
import importlib.util
import re
import subprocess
import tempfile
from collections import defaultdict
from pathlib import Path
from typing import Any

from pycparser import c_ast, c_generator, c_parser  # type: ignore[import-untyped]

from tally.interpose.table import Function, Param, Table, TableError

# Only CUDA's own declarations are wanted, so the two standard headers are replaced by these.
STUB_HEADERS = {
    "stdlib.h": "typedef unsigned long size_t;\ntypedef int wchar_t;\n",
    "stdint.h": "".join(
        f"typedef {sign} {c_type} {prefix}int{bits}_t;\n"
        for bits, c_type in ((8, "char"), (16, "short"), (32, "int"), (64, "long"))
        for sign, prefix in (("signed", ""), ("unsigned", "u"))
    )
    + "typedef unsigned long uintptr_t;\n",
}
STUB_NAMES = {
    "size_t",
    "wchar_t",
    "uintptr_t",
    *(f"{p}int{bits}_t" for p in ("", "u") for bits in (8, 16, 32, 64)),
}

# cudaProfiler.h comes in another package than cuda.h; these three functions are all it declares.
PROFILER = """
typedef enum CUoutput_mode_enum { CU_OUT_KEY_VALUE_PAIR = 0, CU_OUT_CSV = 1 } CUoutput_mode;
CUresult cuProfilerInitialize(const char *configFile, const char *outputFile, CUoutput_mode mode);
CUresult cuProfilerStart(void);
CUresult cuProfilerStop(void);
"""

SYMBOL = re.compile(r"^(cu\w+?)(?:_v(\d+))?(_ptsz|_ptds)?$")
TYPEDEF = re.compile(r"\bPFN_(cu\w+?)_v(\d+)(_ptsz|_ptds)?\)")
CONSTANT = re.compile(
    r"^#define\s+(CU_[A-Z0-9_]+|CUDA_[A-Z0-9_]+)\s+(\(?-?(?:0[xX])?[0-9a-fA-F]+\)?)\s*(?:/[/*].*)?$",
    re.MULTILINE,
)


def find_include_dir() -> Path | None:
    """Folder of the toolkit's headers as PyPI's nvidia-cuda-runtime 13 installs them, or None."""
    spec = importlib.util.find_spec("nvidia")
    for root in spec.submodule_search_locations or [] if spec else []:
        candidate = Path(root) / "cu13" / "include"
        if (candidate / "cuda.h").is_file():
            return candidate
    return None


def read(include_dir: Path) -> Table:
    """Parse the toolkit's headers. Raises TableError when they are not what this code knows."""
    text = (include_dir / "cuda.h").read_text()
    version = re.search(r"^#define CUDA_VERSION (\d+)$", text, re.MULTILINE)
    if version is None:
        raise TableError(f"{include_dir / 'cuda.h'}: no CUDA_VERSION")
    typedefs = "".join(
        (include_dir / name).read_text() for name in ("cudaTypedefs.h", "cudaProfilerTypedefs.h")
    )
    unit = _parse(include_dir)
    types, prototypes = _split(unit)
    return Table(
        cuda_version=int(version[1]),
        types=types,
        constants=_constants(text),
        results=_results(unit),
        functions=_versioned(prototypes, typedefs),
    )


def _parse(include_dir: Path) -> Any:
    with tempfile.TemporaryDirectory() as stubs:
        for name, body in STUB_HEADERS.items():
            (Path(stubs) / name).write_text(body)
        # INTERNAL: declare the older and the per-thread variants too.
        command = ["cc", "-E", "-P", "-nostdinc", "-I", stubs, "-I", str(include_dir)]
        command += ["-D__CUDA_API_VERSION_INTERNAL", str(include_dir / "cuda.h")]
        source = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    source = re.sub(r"__attribute__\s*\(\(.*?\)\)", "", source)
    try:
        return c_parser.CParser().parse(source + PROFILER)
    except c_parser.ParseError as error:
        raise TableError(f"pycparser 3 or newer is needed to parse cuda.h: {error}") from error


def _split(unit: Any) -> tuple[tuple[str, ...], dict[str, tuple[Param, ...]]]:
    generator = c_generator.CGenerator()
    types: list[str] = []
    prototypes: dict[str, tuple[Param, ...]] = {}
    for node in unit.ext:
        if isinstance(node, c_ast.Decl) and isinstance(node.type, c_ast.FuncDecl):
            prototypes[node.name] = _params(node.type, generator)
        elif not (isinstance(node, c_ast.Typedef) and node.name in STUB_NAMES):
            types.append(generator.visit(node).strip() + ";")
    return tuple(types), prototypes


def _params(func: Any, generator: Any) -> tuple[Param, ...]:
    params = []
    for node in func.args.params if func.args else ():
        if isinstance(node, c_ast.Typename):  # (void)
            continue
        anonymous = copy.deepcopy(node.type)
        inner = anonymous
        while not isinstance(inner, c_ast.TypeDecl):
            inner = inner.type
        inner.declname = None
        params.append(
            Param(name=node.name, type=generator.visit(anonymous), decl=generator.visit(node))
        )
    return tuple(params)


def _constants(text: str) -> dict[str, str]:
    return {name: value for name, value in CONSTANT.findall(text) if name != "CUDA_VERSION"}


def _results(unit: Any) -> dict[str, int]:
    for node in unit.ext:
        if isinstance(node, c_ast.Typedef) and node.name == "CUresult":
            enumerators = node.type.type.values.enumerators
            return {e.name: int(e.value.value, 0) for e in enumerators}
    raise TableError("the header declares no CUresult")


def _versioned(prototypes: dict[str, tuple[Param, ...]], typedefs: str) -> tuple[Function, ...]:
    """Give each symbol the CUDA version that introduced it.

    cudaTypedefs.h names the versions of each base name, not the symbols; the header's _vN suffixes
    are in the same order, so the two sorted lists belong together.
    """
    versions: dict[tuple[str, str], set[int]] = defaultdict(set)
    for base, version, suffix in TYPEDEF.findall(typedefs):
        versions[base, suffix].add(int(version))
    groups: dict[tuple[str, str], list[tuple[int, str]]] = defaultdict(list)
    for symbol in prototypes:
        match = SYMBOL.match(symbol)
        assert match is not None
        groups[match[1], match[3] or ""].append((int(match[2] or 1), symbol))
    functions = []
    for (base, suffix), members in groups.items():
        known = sorted(versions[base, suffix])
        if len(known) != len(members):
            raise TableError(f"{base}{suffix}: symbols {sorted(members)}, versions {known}")
        functions += [
            Function(symbol, base, introduced, suffix, prototypes[symbol])
            for (_, symbol), introduced in zip(sorted(members), known, strict=True)
        ]
    return tuple(sorted(functions, key=lambda f: (f.base, f.suffix, f.introduced)))
