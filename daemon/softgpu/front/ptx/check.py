"""Which instructions of PTX the table has: others refuse their kernel, or the module."""

from __future__ import annotations

from ... import table
from ...errors import PtxError, UnsupportedError
from ...ir import Instruction, Module
from . import unsupported


def check(module: Module) -> None:
    """Set `refused` of functions with what PTX has and the table has not; PtxError for what is no
    PTX."""
    for function in module.functions.values():
        for item in function.body or []:
            if isinstance(item, Instruction):
                try:
                    check_instruction(item)
                except UnsupportedError as error:
                    function.refused = function.refused or error


def check_instruction(ins: Instruction) -> None:
    """Raise UnsupportedError or PtxError, by name and line."""
    found = table.entry_of(ins.opcode)
    if found is None:
        check_known(ins.line, ins.opcode, ins.full_name)
        raise PtxError(ins.line, f"unknown instruction '{ins.full_name}'")
    for mod in ins.mods:
        if mod not in found.mods:
            if mod in unsupported.MODIFIERS or table.is_modifier(mod):
                raise UnsupportedError(
                    ins.line, f"unsupported modifier '.{mod}' in '{ins.full_name}'"
                )
            raise PtxError(ins.line, f"unknown modifier '.{mod}' in '{ins.full_name}'")
    few, many = found.operands
    if not few <= len(ins.operands) <= many:
        raise PtxError(ins.line, f"'{ins.full_name}' with {len(ins.operands)} operands")


def check_known(line: int, opcode: str, full_name: str) -> None:
    """Raise UnsupportedError for what PTX has and the table has not, whatever its operands."""
    if opcode in unsupported.OPCODES and table.entry_of(opcode) is None:
        raise UnsupportedError(line, f"unsupported instruction '{full_name}'")
