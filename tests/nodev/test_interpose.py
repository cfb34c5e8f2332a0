"""The driver-API table: its facts, its annotations, and the files made from it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tally.interpose import __main__ as command
from tally.interpose import binding, emit, header, ops
from tally.interpose.handling import KINDS, Handlings
from tally.interpose.table import TABLE_PATH, Table, TableError, from_json, load

CHECKOUT = (command.ROOT / "native").is_dir()
SHIM = command.ROOT / "native" / "shim"
needs_checkout = pytest.mark.skipif(not CHECKOUT, reason="generated C lies in a checkout only")

# What libcudart asks for and must get, as seen with NVIDIA's own driver.
VERSIONED = [
    ("cuGetProcAddress", 12000, "cuGetProcAddress_v2"),
    ("cuCtxCreate", 3020, "cuCtxCreate_v2"),
    ("cuCtxCreate", 11040, "cuCtxCreate_v3"),
    ("cuCtxCreate", 12050, "cuCtxCreate_v4"),
    ("cuStreamGetCaptureInfo", 11030, "cuStreamGetCaptureInfo_v2"),
    ("cuStreamGetCaptureInfo", 12030, "cuStreamGetCaptureInfo_v3"),
    ("cuCtxSynchronize", 13000, "cuCtxSynchronize_v2"),
    ("cuCtxGetDevice", 13000, "cuCtxGetDevice_v2"),
    ("cuEventElapsedTime", 12080, "cuEventElapsedTime_v2"),
    ("cuStreamGetCtx", 12050, "cuStreamGetCtx_v2"),
    ("cuStreamWaitValue32", 11070, "cuStreamWaitValue32_v2"),
    ("cuMemcpyBatchAsync", 13000, "cuMemcpyBatchAsync_v2"),
    ("cuMemAdvise", 12020, "cuMemAdvise_v2"),
    ("cuMemPrefetchAsync", 12020, "cuMemPrefetchAsync_v2"),
    ("cuLaunchKernelEx", 11060, "cuLaunchKernelEx"),
    ("cuMemPoolCreate", 11020, "cuMemPoolCreate"),
    ("cuLibraryLoadData", 12000, "cuLibraryLoadData"),
    ("cuTensorMapEncodeTiled", 12000, "cuTensorMapEncodeTiled"),
    ("cuGreenCtxCreate", 12040, "cuGreenCtxCreate"),
    ("cuFuncGetParamInfo", 12040, "cuFuncGetParamInfo"),
]


@pytest.fixture(scope="module")
def table() -> Table:
    return load()


@pytest.mark.parametrize(("base", "version", "symbol"), VERSIONED)
def test_versions_select_symbols(table: Table, base: str, version: int, symbol: str) -> None:
    fitting = [f for f in table if (f.base, f.suffix) == (base, "") and f.introduced <= version]
    assert max(fitting, key=lambda f: f.introduced).symbol == symbol


def test_every_symbol_is_listed_once(table: Table) -> None:
    symbols = [f.symbol for f in table]
    assert len(symbols) == len(set(symbols))
    assert set(table.per_thread()) <= set(table.stems())


def test_versions_of_one_name_differ(table: Table) -> None:
    keys = [(f.base, f.suffix, f.introduced) for f in table]
    assert len(keys) == len(set(keys))


def test_json_keeps_everything(table: Table) -> None:
    assert from_json(table.to_json()) == table
    assert table.to_json() == TABLE_PATH.read_text()


@pytest.fixture
def no_header(monkeypatch: pytest.MonkeyPatch) -> None:
    """Parsing the header takes seconds; one test below does it."""
    monkeypatch.setattr(command, "read_header", lambda include_dir: None)


@needs_checkout
@pytest.mark.usefixtures("no_header")
def test_committed_files_are_fresh(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["check"]) == 0, capsys.readouterr().out


@needs_checkout
@pytest.mark.usefixtures("no_header")
def test_check_sees_a_stale_file(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    name = "native/shim/generated/exports.map"
    original = emit.OUTPUTS[name]
    monkeypatch.setitem(emit.OUTPUTS, name, lambda h: original(h).replace("cuInit;", ""))
    assert command.main(["check"]) == 1
    assert capsys.readouterr().out.startswith(f"stale: {name}")


@pytest.mark.usefixtures("no_header")
def test_headers_are_written_before_types_are_read_from_them(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    header = tmp_path / "messages.h"
    monkeypatch.setattr(command, "ROOT", tmp_path)
    monkeypatch.setattr(command, "OUTPUTS", {})
    monkeypatch.setattr(ops, "render", lambda: {header.name: "new"})
    monkeypatch.setattr(binding, "render", lambda: {"types": header.read_text()})
    assert command.main(["generate"]) == 0
    assert (tmp_path / "types").read_text() == "new"


def test_table_is_what_the_header_says(table: Table) -> None:
    include_dir = header.find_include_dir()
    if include_dir is None:
        pytest.skip("no CUDA 13.0 headers: pip install tally-gpu[test]")
    assert header.read(include_dir) == table


def test_coverage_counts_every_symbol(table: Table, capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["coverage"]) == 0
    counts = re.findall(r"^(\w+): (\d+) functions, (\d+) symbols$", capsys.readouterr().out, re.M)
    assert [kind for kind, _, _ in counts] == list(KINDS)
    assert sum(int(symbols) for _, _, symbols in counts) == len(table.functions)
    assert sum(int(functions) for _, functions, _ in counts) == len(table.stems())


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ('[local]\ndevice = ["cuNoSuchThing"]', "is no driver function"),
        ('[local]\ndevice = ["cuInit"]\n[custom]\ndevice = ["cuInit"]', "is named twice"),
        ('[alias]\ncuCtxDestroy = "cuCtxDestroy_v2"', "needs a written target"),
        ('[local]\na = ["cuInit"]\n[alias]\ncuCtxDestroy = "cuInit"', "is no alias"),
        ('[call.cuInit]\nnothing = "inout"', "has no parameter"),
        ("[call.cuInit]\npublic = false", "and not hand-written"),
        ('[magic]\na = ["cuInit"]', "unknown sections"),
    ],
)
def test_bad_handling_is_refused(table: Table, tmp_path: Path, text: str, complaint: str) -> None:
    path = tmp_path / "handling.toml"
    path.write_text(text)
    with pytest.raises(TableError, match=complaint):
        Handlings(table, path)


def test_unnamed_functions_are_unsupported(table: Table, tmp_path: Path) -> None:
    path = tmp_path / "handling.toml"
    path.write_text("")
    assert len(Handlings(table, path).by_kind("unsupported")) == len(table.stems())


@needs_checkout
def test_each_hand_written_function_is_in_the_file_that_is_named(table: Table) -> None:
    handlings, wrong = Handlings(table), []
    for kind in ("local", "custom"):
        for function in handlings.by_kind(kind):
            file = handlings.of(function).file
            text = (SHIM / f"{file}.c").read_text()
            if not re.search(rf"\bshim_{function.symbol}\([^;{{]*\)\s*{{", text):
                wrong.append(f"{function.symbol} is not in {file}.c")
    assert not wrong
