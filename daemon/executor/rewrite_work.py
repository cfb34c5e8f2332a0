"""What workers do to modules for the scheduler: the passes of tally.scheduler.ptx."""

from __future__ import annotations

import logging
from typing import Any

from tally.scheduler.ptx import variables, variants
from tally.scheduler.ptx.image import ARCHITECTURE_MAX, ImageError, extract, is_mixed
from tally.scheduler.ptx.module import RewriteError

from .refusals import NOTES_MAX, TEXT_CHARACTERS_MAX, Note, of_error, of_variants

log = logging.getLogger("tallyd.rewrite")


def _bounded(notes: list[Note]) -> list[list[str]]:
    """As many and as long as are shown; the rest is not for the executor to read."""
    return [[text[:TEXT_CHARACTERS_MAX] for text in note] for note in notes[:NOTES_MAX]]


def _encode(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def _extract(head: dict[str, Any], image: bytes) -> str:
    return extract(image, int(head["architecture"] or ARCHITECTURE_MAX))


def rewrite(head: dict[str, Any], image: bytes) -> tuple[dict[str, Any], bytes]:
    """PTX with all forms (of these alone, if `beside` says so) as the bytes, if `made`; and notes
    on the kernels that cannot give way.
    """
    module = str(head["module"])[:12]
    try:
        made = variants.run(_extract(head, image), alone=None)
    except (ImageError, RewriteError) as error:
        log.debug("module %s runs whole: %s", module, error)
        return {"made": False, "notes": _bounded(of_error(error))}, b""
    except MemoryError:
        raise
    except Exception:  # a defect of the passes must not cost the program its module
        log.exception("module %s cannot be rewritten, and runs whole", module)
        note = Note("", "whole", "a defect of Tally: see tallyd's log")
        return {"made": False, "notes": _bounded([note])}, b""
    for name, reason in made.refused.items():
        log.debug("module %s: %s has no sub-grid form: %s", module, name, reason)
    return {"made": True, "notes": _bounded(of_variants(made))}, _encode(made.text)


def beside(head: dict[str, Any], image: bytes) -> tuple[dict[str, Any], bytes]:
    """Whether the module's forms may be in a module of their own, made in the background; and the
    PTX that they will come from, if the image has other code as well (`mixed`).
    """
    try:
        text = _extract(head, image)
        answer = variables.reachable(text) is not None
        return (
            ({"beside": answer, "mixed": True}, _encode(text))
            if is_mixed(image)
            else ({"beside": answer, "mixed": False}, b"")
        )
    except (ImageError, RewriteError):
        # Nothing to rewrite: the background is where that is found and noted.
        return {"beside": True, "mixed": False}, b""


WORKS = {"rewrite": rewrite, "beside": beside}
