"""Front ends: from a program's code to ir.Module, which analysis/ and emit/ take from any of them.

front/ptx/ reads PTX. Another one, for machine code say, is a package beside it with a function
`read(code) -> ir.Module`, which code.py calls for the images that are its. What it must produce:

- `Module`: its functions and variables by name, in the order of the code.
- `Function`: for a kernel its parameters, with their offsets; registers, each with an index that is
  its place in `registers`, and a width: none is shared by two functions; local, shared and global
  variables; and a body, which is a list of instructions and labels.
- `Instruction`: an opcode and modifiers of table.py, whatever the code itself calls them. The
  operand that is written comes first where the table says so, and memory is named by an `Address`.
  A guard is a predicate register, what reads or writes the condition code has it as `carry`, and
  a call says in `call` what it calls.
- Control flow is `bra`, `brx` over one of the function's `tables`, `ret` and `exit`, with labels of
  the same function: analysis/cfg.py finds out about loops, and where lanes part and meet again. No
  front end says so (machine code's own instructions for that are to be dropped).
- What the table has not, or what cannot be compiled in a right program: an UnsupportedError in
  `Function.refused`, which refuses the kernels that reach it when they are launched. What is wrong
  is a PtxError, with the line if there are lines, and refuses the module.
- A variable's `initial` is text as PTX writes it (layout.py reads it).

A front end knows ir.py, types.py, table.py and errors.py, and neither analyses nor emits.
"""
