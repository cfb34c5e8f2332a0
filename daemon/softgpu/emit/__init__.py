"""LLVM IR: emitter.py goes through a function's blocks, flow.py makes their ends, and each family
of instructions (families.py) registers a function for each of its opcodes in table.py.

builder.py knows LLVM's syntax; access.py, loads.py and stores.py memory; collective.py and warp.py
what lanes do together.
"""
