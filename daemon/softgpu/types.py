"""PTX's types."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class PtxType:
    """`kind`: u, s, b (bits), f, h (half), w (bfloat), t (tf32), p (predicate); `lanes`: 2 for
    packed."""

    name: str
    kind: str
    bits: int
    lanes: int = 1

    @property
    def bytes(self) -> int:
        """Size in memory."""
        return max(self.bits // 8, 1)

    @property
    def llvm(self) -> str:
        """The integer type that registers of this type have."""
        return f"i{self.bits}"

    @property
    def signed(self) -> bool:
        return self.kind == "s"

    @property
    def is_float(self) -> bool:
        return self.kind in "fhwt"


def _table() -> dict[str, PtxType]:
    types = [PtxType(f"{k}{n}", k, n) for k in "usb" for n in (8, 16, 32, 64)]
    types += [PtxType("b128", "b", 128), PtxType("pred", "p", 1)]
    types += [PtxType("f16", "h", 16), PtxType("f32", "f", 32), PtxType("f64", "f", 64)]
    types += [PtxType("bf16", "w", 16), PtxType("tf32", "t", 32)]
    types += [PtxType("f16x2", "h", 32, 2), PtxType("bf16x2", "w", 32, 2)]
    types += [PtxType("u16x2", "u", 32, 2), PtxType("s16x2", "s", 32, 2)]
    types += [PtxType("f32x2", "f", 64, 2)]
    return {t.name: t for t in types}


TYPES = _table()
B32 = TYPES["b32"]
B64 = TYPES["b64"]
PRED = TYPES["pred"]
