"""The parity table is whole, and its page is what its rows say."""

from __future__ import annotations

from collections import Counter

from support import parity


def test_every_function_written_by_hand_has_a_row() -> None:
    described = {row.symbol for row in parity.rows() if not row.before_init}
    assert set(parity.hand_written()) - described == set()


def test_rows_are_of_functions_written_by_hand_and_told_apart() -> None:
    assert {row.symbol for row in parity.rows()} <= set(parity.hand_written())
    titles = Counter(row.title for row in parity.rows())
    assert [title for title, count in titles.items() if count > 1] == []


def test_the_page_is_fresh() -> None:
    assert parity.PAGE.read_text() == parity.render(), "run python tests/support/parity.py"
