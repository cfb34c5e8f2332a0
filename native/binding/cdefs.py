"""What Python sees of the native code, from its headers: declarations for cffi, and types for mypy.

`python cdefs.py CC OUT` writes the declarations of the headers that prelude.h includes; the build
runs it. `python -m tally.interpose` writes and checks the types (tally/_native.pyi) and what else
repeats a header. Needs a C compiler and pycparser, which cffi brings.
"""

from __future__ import annotations

import keyword
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from pycparser import c_ast, c_generator, c_parser  # type: ignore[import-untyped]

NATIVE = Path(__file__).resolve().parents[1]
INCLUDE = (NATIVE / "include", NATIVE, NATIVE / "sched")
BASE = NATIVE / "binding" / "base.cdef.h"
PRELUDE = NATIVE / "binding" / "prelude.h"

# Only our own declarations are wanted, so standard headers are replaced by these.
STUB_HEADERS = {
    "stddef.h": "typedef unsigned long size_t;\n#define NULL 0\n",
    "stdbool.h": "typedef _Bool bool;\n",
    "stdint.h": "".join(
        f"typedef {sign} {c_type} {prefix}int{bits}_t;\n"
        for bits, c_type in ((8, "char"), (16, "short"), (32, "int"), (64, "long"))
        for sign, prefix in (("signed", ""), ("unsigned", "u"))
    )
    + "#define UINT32_MAX 0xffffffffu\n#define UINT64_MAX 0xfffffffffffffffful\n",
}
STANDARD = {"size_t", "bool", *(f"{p}int{b}_t" for p in ("", "u") for b in (8, 16, 32, 64))}
LARGEST = {"UINT32_MAX", "UINT64_MAX"}
PYTHON_FUNCTION = re.compile(r'^extern "Python" \w+ \*?(\w+)\(', re.MULTILINE)
MACRO = re.compile(r"^#define (TALLY_[A-Z0-9_]+) (.+)$", re.MULTILINE)
INTEGERS = re.compile(r"(?:0[xX][0-9a-fA-F]+|\d+)[uUlL]*|[A-Z_][A-Z0-9_]*|[()+*/|&~<>-]|\s")


class Headers:
    """The declarations of our headers, with array sizes and enumerators as plain numbers."""

    def __init__(self, cc: str = "cc"):
        self.macros = _integer_macros(_preprocess(cc, "-dM"))
        source = re.sub(r"__attribute__\s*\(\(.*?\)\)", "", _preprocess(cc, "-P"))
        unit = c_parser.CParser().parse(source)
        self.nodes = [node for node in unit.ext if _is_ours(node)]
        self.constants: dict[str, int] = {}
        for node in self.nodes:
            self._number(node)

    def _number(self, node: Any) -> None:
        for _, child in node.children():
            self._number(child)
        if isinstance(node, c_ast.EnumeratorList):
            value = -1
            for enumerator in node.enumerators:
                value = self._value(enumerator.value) if enumerator.value else value + 1
                self.constants[enumerator.name] = value
                enumerator.value = c_ast.Constant("int", str(value))
        elif isinstance(node, c_ast.ArrayDecl) and node.dim is not None:
            node.dim = c_ast.Constant("int", str(self._value(node.dim)))

    def _value(self, node: Any) -> int:
        if isinstance(node, c_ast.Constant):
            return int(node.value.rstrip("uUlL"), 0)
        if isinstance(node, c_ast.ID):
            return self.constants[node.name]
        if isinstance(node, c_ast.UnaryOp) and node.op == "-":
            return -self._value(node.expr)
        if isinstance(node, c_ast.BinaryOp):
            left, right = self._value(node.left), self._value(node.right)
            known = {"+": left + right, "-": left - right, "*": left * right, "<<": left << right}
            return known[node.op]
        raise ValueError(f"not a constant: {c_generator.CGenerator().visit(node)}")

    def cdef(self) -> str:
        """For cffi: everything in full, so that it holds each layout against the C compiler's."""
        generator = c_generator.CGenerator()
        lines = ["/* Made of the headers in prelude.h by cdefs.py; not to be edited. */"]
        lines += [f"#define {name} ..." for name in self.macros]
        lines += [generator.visit(node).strip() + ";" for node in self.nodes]
        return "\n".join(lines) + "\n"

    def struct(self, name: str) -> list[tuple[str, Any]]:
        """Names and pycparser types of a struct's members. KeyError if there is no such struct."""
        return self.structs()[name]

    def structs(self) -> dict[str, list[tuple[str, Any]]]:
        """Members of every struct that is declared in full."""
        found = {}
        for node in self.nodes:
            struct = node.type
            if isinstance(struct, c_ast.Struct) and struct.decls:
                found[struct.name] = [(decl.name, decl.type) for decl in struct.decls]
        return found

    def functions(self) -> dict[str, Any]:
        """pycparser's FuncDecl of every function."""
        return {
            node.name: node.type for node in self.nodes if isinstance(node.type, c_ast.FuncDecl)
        }


def _preprocess(cc: str, mode: str) -> str:
    with tempfile.TemporaryDirectory() as stubs:
        for name, body in STUB_HEADERS.items():
            (Path(stubs) / name).write_text(body)
        command = [cc, "-E", mode, "-nostdinc", "-I", stubs]
        command += [word for path in INCLUDE for word in ("-I", str(path))]
        done = subprocess.run([*command, str(PRELUDE)], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise ValueError(done.stderr.strip())
    return done.stdout


def _is_ours(node: Any) -> bool:
    """Declarations, not the bodies of inline functions, and nothing of standard headers."""
    if isinstance(node, c_ast.Typedef):
        return node.name not in STANDARD
    return isinstance(node, c_ast.Decl) and "static" not in node.storage


def _integer_macros(text: str) -> list[str]:
    """Names of the macros that stand for integers."""
    bodies = dict(MACRO.findall(text))

    def is_integer(body: str) -> bool:
        names = re.findall(r"\b[A-Z_][A-Z0-9_]*\b", body)
        known = (name in LARGEST or is_integer(bodies.get(name, "")) for name in names)
        return bool(body) and not INTEGERS.sub("", body) and all(known)

    return sorted(name for name, body in bodies.items() if is_integer(body))


# ---- types ---------------------------------------------------------------------------------------

STUB_HEAD = '''"""The native module's types, as `python -m tally.interpose generate` writes them.

A pointer to a struct, an array of them and the struct itself have one type here, as they have the
same members in cffi.
"""

from collections.abc import Callable, Iterator
from typing import Any, Literal, Self, SupportsIndex, TypeAlias, TypeVar, overload

_T = TypeVar("_T")

class CData:
    def __bool__(self) -> bool: ...
    def __len__(self) -> int: ...
    def __int__(self) -> int: ...
    def __add__(self, other: int, /) -> Self: ...

class Pointer(CData):
    """To anything but a struct; also void."""
    def __getitem__(self, index: SupportsIndex | slice, /) -> Any: ...
    def __setitem__(self, index: SupportsIndex | slice, value: Any, /) -> None: ...
    def __iter__(self) -> Iterator[Any]: ...
    def __call__(self, *args: Any) -> Any: ...

class Struct(CData):
    def __getitem__(self, index: int | slice, /) -> Self: ...
    def __setitem__(self, index: int, value: Self, /) -> None: ...
    def __iter__(self) -> Iterator[Self]: ...

class CType:
    cname: str
    kind: str
    fields: list[tuple[str, CField]]
    item: CType
    length: int
    elements: dict[int, str]
    relements: dict[str, int]

class CField:
    offset: int
    type: CType

class FFI:
    NULL: Any
    CData: TypeAlias = CData
{new}
    @overload
    def new(self, cdecl: str, init: Any = ...) -> Any: ...
    def string(self, cdata: CData, maxlen: int = ...) -> bytes: ...
    def buffer(self, cdata: CData, size: int = ...) -> memoryview: ...
    def from_buffer(self, cdecl: Any, data: Any = ...) -> Pointer: ...
    def memmove(self, dest: Any, src: Any, n: int) -> None: ...
    def cast(self, cdecl: str, value: Any) -> Any: ...
    def gc(self, cdata: _T, destructor: Callable[[_T], None]) -> _T: ...
    def sizeof(self, cdecl: str | CData | CType) -> int: ...
    def offsetof(self, cdecl: str | CType, *fields: str) -> int: ...
    def typeof(self, cdecl: str | CData) -> CType: ...
    def addressof(self, cdata: Any, *fields: str | int) -> Any: ...
    def callback(self, cdecl: str, python: Callable[..., Any] = ...) -> Pointer: ...
    def def_extern(self, name: str = ..., error: Any = ...) -> Callable[[_T], _T]: ...
'''


def _class(struct: str) -> str:
    """The type of a struct: SchedLimits of tally_sched_limits."""
    return "".join(word.title() for word in struct.removeprefix("tally_").split("_"))


def _base(node: Any) -> str:
    """The name of a type without pointers and arrays: a struct's, or C's."""
    while not hasattr(node, "names") and not isinstance(node, c_ast.Struct | c_ast.Enum):
        node = node.type
    if isinstance(node, c_ast.Struct):
        return str(node.name)
    return "enum" if isinstance(node, c_ast.Enum) else " ".join(node.names)


def _python_type(node: Any, structs: set[str], argument: bool = False) -> str:
    if isinstance(node, c_ast.TypeDecl):
        base = _base(node)
        words = {"void": "None", "bool": "bool", "_Bool": "bool", "float": "float"}
        if base in structs:
            return _class(base)
        return words.get(base, "Pointer" if base.endswith("_fn") else "int")
    base = _base(node)
    if base in structs and isinstance(node.type, c_ast.TypeDecl):
        return _class(base)
    if argument:
        return "bytes | CData" if base == "char" else "CData"
    return "Pointer"


def _stub_function(name: str, node: Any, structs: set[str]) -> str:
    words = ["self"]
    for param in node.args.params if node.args else ():
        if getattr(param, "name", None):
            word = f"{param.name}_" if keyword.iskeyword(param.name) else param.name
            words.append(f"{word}: {_python_type(param.type, structs, True)}")
    result = _python_type(node.type, structs)
    return f"    def {name}({', '.join([*words, '/'])}) -> {result}: ..."


def _stub_member(name: str, node: Any, structs: set[str]) -> list[str]:
    kind = _python_type(node, structs)
    if kind != "Pointer":
        return [f"    {name}: {kind}"]
    # An array reads as one, and is set from anything that fits.
    return [
        "    @property",
        f"    def {name}(self) -> Pointer: ...",
        f"    @{name}.setter",
        f"    def {name}(self, value: Any) -> None: ...",
    ]


def stub(headers: Headers) -> str:
    """tally/_native.pyi."""
    structs = headers.structs()
    opaque = {
        node.type.name
        for node in headers.nodes
        if isinstance(node.type, c_ast.Struct) and not node.type.decls
    }
    names = {*structs, *opaque}
    new = []
    for name in structs:
        for declaration in (f"struct {name} *", f"struct {name}[]"):
            new.append("    @overload")
            words = f'self, cdecl: Literal["{declaration}"], init: Any = ...'
            new.append(f"    def new({words}) -> {_class(name)}: ...")
    lines = [STUB_HEAD.replace("{new}", "\n".join(new))]
    for name in sorted(names):
        members = [m for n, t in structs.get(name, []) for m in _stub_member(n, t, names)]
        lines += [f"class {_class(name)}(Struct):", *(members or ["    pass"]), ""]
    lines.append("class Lib:")
    lines += [f"    {name}: int" for name in (*headers.macros, *headers.constants)]
    lines += [f"    {name}: Pointer" for name in PYTHON_FUNCTION.findall(BASE.read_text())]
    lines += [_stub_function(n, node, names) for n, node in sorted(headers.functions().items())]
    lines += ["", "ffi: FFI", "lib: Lib"]
    return "\n".join(lines) + "\n"


def main(arguments: list[str]) -> int:
    cc, out = arguments
    Path(out).write_text(Headers(cc).cdef())
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
