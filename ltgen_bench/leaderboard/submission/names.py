"""Titles that imitate others: what is refused in one, and when two look alike.

Letters of another script can stand in for Latin ones, marks can be heaped on a letter. Two titles that a reader takes
for the same have one skeleton (Unicode Technical Standard 39, with its table of confusables).
"""

from __future__ import annotations

import re
import unicodedata

from ltgen_bench.core.plain_text import shown

_MOST_MARKS = 2  # combining marks on one letter; scripts that are written with marks need no more
_UNMARKED = ("LATIN", "GREEK", "CYRILLIC", "DIGIT")  # scripts whose marked letters are letters of their own


def title_problem(title: str) -> str | None:
    """Why a title is refused that `text_problem` has nothing against: it can be written so that nobody mistakes it."""
    if title != " ".join(title.split()) or any(unicodedata.category(c) == "Zs" and c != " " for c in title):
        return "has spaces at an end, several in a row, or other ones than the plain one"
    plain = unicodedata.normalize("NFKC", title)
    if plain != title:
        return f"has characters that stand for others; write it as {shown(plain)}"
    if not any(unicodedata.category(c)[0] in "LN" for c in title):
        return "has neither a letter nor a digit"
    marks, base = 0, ""
    for character in title:
        if unicodedata.category(character)[0] != "M":
            marks, base = 0, unicodedata.name(character, "")
            continue
        marks += 1
        if marks > _MOST_MARKS or not base or base.startswith(_UNMARKED):
            return f"holds the combining mark U+{ord(character):04X} where no script has one"
    return None


def skeleton(title: str) -> str:
    """What a title looks like: two that a reader takes for the same have the same one.

    Without case, punctuation and spaces; letters and digits that look like others in place of these.
    """
    from confusable_homoglyphs.confusables import confusables_data

    found = []
    for character in unicodedata.normalize("NFKD", title):
        if unicodedata.category(character)[0] in "MPZC":
            continue
        alike = [character, *(one["c"] for one in confusables_data.get(character, ()) if len(one["c"]) == 1)]
        plain = sorted(one for one in alike if re.fullmatch(r"[A-Za-z]", one))
        digit = sorted(one for one in alike if re.fullmatch(r"[0-9]", one))
        chosen = character if re.fullmatch(r"[A-Za-z]", character) else (plain or digit or [min(alike)])[0]
        found.append("l" if chosen in "Il" else chosen.casefold())
    return "".join(found)
