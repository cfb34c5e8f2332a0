"""PTX split into statements, operands left opaque; `write(read(text)) == text`.

A statement is a label, a brace, a directive, a function header or an instruction. White space and
comments before it are kept beside it, so that a pass can insert, drop or change statements and the
rest of the file stays as it was, to the byte. Reading is one pass over the few characters that can
end a statement, so megabytes take a fraction of a second.

The time is linear in the text, whatever it says. That is why every repetition here is possessive
(`*+`: it gives nothing back), and why a comment or a string that does not end is a token too, up to
where it was looked for: else each of a million `/*` would be looked for to the end of the text.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum


class Kind(Enum):
    """What a statement is."""

    LABEL = "label"  # `name:`
    OPEN = "open"  # `{`
    CLOSE = "close"  # `}`
    DIRECTIVE = "directive"  # `.version 9.0`, `.reg .b32 %r<3>;`, `.global .u32 g = 3;`
    FUNCTION = "function"  # `.visible .entry k(...)`, up to its `{`, or with its `;`
    INSTRUCTION = "instruction"  # `@%p1 bra L;`
    END = "end"  # no text: white space and comments at the end of the file


class ReadError(ValueError):
    """The text does not split into statements."""

    def __init__(self, line: int, message: str) -> None:
        super().__init__(f"line {line}: {message}")
        self.line = line
        self.message = message


@dataclass(slots=True)
class Statement:
    """`lead` (white space and comments) and `text` are the statement's characters in the file."""

    kind: Kind
    lead: str
    text: str
    line: int  # of the text's first character, from 1

    @property
    def bare(self) -> str:
        """The text without comments."""
        return _COMMENT.sub(_keep_string, self.text) if "/" in self.text else self.text


_STRING = r'"(?:[^"\\\n]|\\.)*+"?'
_LINE_COMMENT = r"//[^\n]*+"
_BLOCK_COMMENT = r"/\*[^*]*+(?:\*(?!/)[^*]*+)*+(?:\*/)?"
_LINKAGE = r"(?:\.(?:visible|extern|weak|common)\s++)*+"
_COMMENT = re.compile(rf"{_STRING}|{_LINE_COMMENT}|{_BLOCK_COMMENT}", re.S)
_TRIVIA = re.compile(rf"(?:\s++|{_LINE_COMMENT}|{_BLOCK_COMMENT})*+", re.S)
_MARK = re.compile(rf"[;{{}}]|{_LINE_COMMENT}|{_BLOCK_COMMENT}|{_STRING}", re.S)
_LABEL = re.compile(r"[A-Za-z_$%][\w$]*+\s*+:(?!:)")
_LINE_DIRECTIVE = re.compile(
    r"\.version\s++\d++\.\d++|\.address_size\s++\d++|\.target\s++\w++(?:[ \t]*+,[ \t]*+\w++)*+"
    r'|\.file\s++\d++\s++"(?:[^"\\\n]|\\.)*+"(?:[ \t]*+,[ \t]*+\d++)*+'
    r"|@@dwarf[^\n]*+|\.loc\b[^\n]*+"
)
_HEADER = re.compile(rf"{_LINKAGE}\.(?:entry|func)\b")
_SECTION = re.compile(r"\.section\b")


def _keep_string(match: re.Match[str]) -> str:
    text = match.group()
    return text if text[0] == '"' else " "


def _drop(match: re.Match[str]) -> str:
    return '""' if match.group()[0] == '"' else ""


def without_comments(text: str) -> str:
    """The text without comments and without what strings say."""
    return _COMMENT.sub(_drop, text)


def _unended(mark: str) -> str:
    """What a token that begins like a comment or a string is, if it does not end; else empty."""
    if mark.startswith("/*") and (len(mark) < 4 or not mark.endswith("*/")):
        return "a comment that does not end"
    if mark[0] == '"' and (len(mark) < 2 or mark[-1] != '"' or _ends_escaped(mark)):
        return "a string that does not end"
    return ""


def _ends_escaped(mark: str) -> bool:
    """Whether the last quote belongs to the string's text: an odd number of \\ is before it."""
    backslashes = len(mark) - 1 - len(mark[:-1].rstrip("\\"))
    return backslashes % 2 == 1


class _Reader:
    def __init__(self, text: str) -> None:
        self.text = text
        self.newlines = [m.start() for m in re.finditer("\n", text)]
        self.depth = 0

    def line(self, position: int) -> int:
        return bisect_right(self.newlines, position - 1) + 1

    def statements(self) -> list[Statement]:
        text, size, position = self.text, len(self.text), 0
        found: list[Statement] = []
        while True:
            match = _TRIVIA.match(text, position)
            start = match.end() if match else position
            if start == size:
                self._check_trivia(position)
                break
            kind, end = self._statement(start)
            found.append(Statement(kind, text[position:start], text[start:end], self.line(start)))
            position = end
        if self.depth:
            raise ReadError(self.line(size), "a { is not closed")
        if position < size:
            found.append(Statement(Kind.END, text[position:], "", self.line(size)))
        return found

    def _check_trivia(self, start: int) -> None:
        """What ends the text may be a comment that does not end itself."""
        for match in _COMMENT.finditer(self.text, start):
            self._check(match)

    def _check(self, match: re.Match[str]) -> None:
        if problem := _unended(match.group()):
            raise ReadError(self.line(match.start()), problem)

    def _statement(self, start: int) -> tuple[Kind, int]:
        """Kind and end of the statement that starts at `start`."""
        first = self.text[start]
        if first == "{":
            self.depth += 1
            return Kind.OPEN, start + 1
        if first == "}":
            self.depth -= 1
            if self.depth < 0:
                raise ReadError(self.line(start), "a } without a {")
            return Kind.CLOSE, start + 1
        if first in ".@":
            match = _LINE_DIRECTIVE.match(self.text, start)
            if match:
                return Kind.DIRECTIVE, match.end()
            if _HEADER.match(self.text, start):
                return Kind.FUNCTION, self._end(start, stop_at_brace=True)
            if _SECTION.match(self.text, start):
                return Kind.DIRECTIVE, self._end_of_section(start)
        else:
            match = _LABEL.match(self.text, start)
            if match:
                return Kind.LABEL, match.end()
        kind = Kind.DIRECTIVE if first == "." else Kind.INSTRUCTION
        return kind, self._end(start, stop_at_brace=False)

    def _end(self, start: int, *, stop_at_brace: bool) -> int:
        depth = 0  # of braces inside the statement: vector operands, initial values
        for match in _MARK.finditer(self.text, start):
            mark = match.group()
            if mark == ";" and not depth:
                return match.end()
            if mark == "{":
                if stop_at_brace:
                    return match.start()
                depth += 1
            elif mark == "}":
                depth -= 1
                if depth < 0:
                    break
            else:
                self._check(match)
        raise ReadError(self.line(start), "a statement without its ;")

    def _end_of_section(self, start: int) -> int:
        depth = 0
        for match in _MARK.finditer(self.text, start):
            depth += {"{": 1, "}": -1}.get(match.group(), 0)
            self._check(match)
            if depth <= 0 and match.group() in "};":
                return match.end()
        raise ReadError(self.line(start), "a section that is not closed")


def read(text: str) -> list[Statement]:
    """Split PTX into statements; raises ReadError with the line where that fails."""
    return _Reader(text).statements()


def write(statements: Iterable[Statement]) -> str:
    """The text of the statements: exactly what was read, where nothing was changed."""
    return "".join([s.lead + s.text for s in statements])
