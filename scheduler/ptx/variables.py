"""Whether forms of kernels must be in the kernels' own module.

So it is where kernels use variables of their module, which all forms of a kernel must share. Judged
from the text at once, in milliseconds even for megabytes, and in doubt they do. Most modules that
programs bring use none; those of CUB and Thrust declare dozens that no kernel ever names.
"""

from __future__ import annotations

import re

# Compiled for a debugger: without what is said of the variables, ptxas would optimise the forms.
_DEBUG = re.compile(r"^\s*\.target\b[^\n]*,\s*debug\b", re.M)
_COMMENT = re.compile(r"//[^\n]*|/\*.*?\*/", re.S)
# A state space that begins a word: `.global` declares, `ld.global` and `.ptr .global` do not.
_SPACE = re.compile(r"(?<![\w.])\.(?:global|const|tex|texref|samplerref|surfref)\b")
_POINTER = re.compile(r"\.ptr\s+\.(?:global|const)\b")
_DECLARATION = re.compile(
    r"^[ \t]*(?:\.(?:visible|extern|weak|common)\s+)*\.(?:global|const)\b"
    r"(?P<kind>(?:\s+\.\w+(?:\s+\d+)?)*)\s+(?P<name>[A-Za-z_$%][\w$]*)\s*(?:\[[\d\s]*\]\s*)*[;=]",
    re.M,
)


def are_shared(text: str) -> bool:
    """False only if no statement names a variable of the module, and no call goes by an address:
    tables of functions are variables too.
    """
    if _DEBUG.search(text):
        return True
    bare = _POINTER.sub("", _COMMENT.sub("", text))
    if ".callprototype" in bare or ".calltargets" in bare:
        return True
    names = [match.group("name") for match in _DECLARATION.finditer(bare)]
    if len(names) != len(_SPACE.findall(bare)):
        return True  # a declaration in a form that is not expected
    return any(bare.count(name) > 1 for name in names)
