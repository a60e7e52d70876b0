"""Names that imitate others, and characters that a terminal obeys."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ltgen_bench.core.plain_text import is_hidden, printable, shown, text_problem
from ltgen_bench.leaderboard.submission.names import skeleton, title_problem

IMITATIONS = {
    "hangul filler": "CORAL\u3164",
    "grapheme joiner": "CORAL\u034f",
    "variation selector": "CORAL\ufe0f",
    "stroke overlay": "CORAL\u0335",
    "trailing space": "CORAL ",
    "leading space": " CORAL",
    "two spaces": "CORAL  2",
    "no-break space": "CORAL\u00a02",
    "full-width letters": "\uff23\uff2f\uff32\uff21\uff2c",
    "mathematical letters": "\U0001d402\U0001d40e\U0001d411\U0001d400\U0001d40b",
    "only spaces": "   ",
    "only punctuation": "...",
    "79 marks": "C" + "\u0301" * 79,
    "mark on a digit": "T2\u0301H",
    "soft hyphen": "CO\u00adRAL",
    "zero width joiner": "CO\u200dRAL",
    "right to left override": "\u202eLAROC",
    "escape": "CORAL\x1b[31m",
    "line break": "CORAL\nDDPM",
    "tab": "CORAL\t",
    "ligature": "di\ufb00usion",
    "tag characters": "CORAL\U000e0041",
    "private use": "CORAL\ue000",
    "lone surrogate": "CORAL\ud800",
    "khmer vowel": "CORAL\u17b4",
    "markup": "<b>CORAL</b>",
    "link": "[CORAL](x)`",
}
SAME = {
    "cyrillic O": "C\u041eRAL",
    "greek O": "C\u039fRAL",
    "digit": "C0RAL",
    "full stop": "CORAL.",
    "case": "Coral",
    "hyphen": "CO-RAL",
    "space": "CO RAL",
    "capital i": "CORAI",
    "one": "CORA1",
    "accent": "CÓRAL",
}
DIFFERENT = ["CORAL+CBDM", "CORAL+", "CORAL2", "CORALS", "DDPM", "CBDM", "T2H", "H2T", "\u03b2-CORAL", "生成", "生产"]


@pytest.mark.parametrize("title", IMITATIONS.values(), ids=IMITATIONS)
def test_titles_that_hide_something_are_refused(title: str) -> None:
    problem = text_problem(title, markup=False) or title_problem(title)
    assert problem
    assert problem.isprintable()


@pytest.mark.parametrize("title", SAME.values(), ids=SAME)
def test_titles_that_look_like_another_one_have_its_skeleton(title: str) -> None:
    assert skeleton(title) == skeleton("CORAL")


def test_other_titles_have_others() -> None:
    found = [skeleton(title) for title in ("CORAL", *DIFFERENT)]
    assert len(set(found)) == len(found)


@pytest.mark.parametrize(
    "title",
    [
        "CORAL (ours), w = 0.01",
        "β-VAE",
        "Überdiffusion",
        "生成モデル",
        "ИИ",
        "प्रसार",
        "การแพร่",
        "Min-SNR",
        "DDPM + CBDM",
        "é",
    ],
)
def test_titles_of_any_script_are_fine(title: str) -> None:
    assert title_problem(unicodedata.normalize("NFKC", title)) is None
    assert text_problem(title, markup=False) is None
    assert skeleton(title)


@given(st.text(max_size=30))
def test_what_is_shown_never_moves_a_cursor(text: str) -> None:
    for line in (printable(text), shown(text)):
        assert not any(is_hidden(character) for character in line)
        assert "\n" not in line


@given(st.text(max_size=30))
def test_titles_are_judged_without_a_traceback(text: str) -> None:
    title_problem(text)
    assert skeleton(text) == skeleton(f" {text}.")
