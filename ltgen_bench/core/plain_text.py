"""Names and messages from outside: what may be shown, and when two names look alike.

Control characters can rewrite a terminal, direction marks and fillers can hide letters, and letters of another script
can stand in for Latin ones. Messages spell such characters out; names and titles that hold them are refused, and two
that a reader takes for the same have one skeleton (Unicode Technical Standard 39, with its table of confusables).
"""

from __future__ import annotations

import re
import unicodedata

MAX_CHARACTERS = 2000

# Markup of Markdown, HTML and LaTeX, which names have no use for. Pages escape it as well: a second door.
_MARKUP = frozenset('<>|`\\$"^{}')
# Letters and marks that are not drawn, and are no format characters either.
_NOT_DRAWN = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u3164\uffa0") | {
    *map(chr, range(0x180B, 0x1810)),
    *map(chr, range(0xFE00, 0xFE10)),
    *map(chr, range(0xE0100, 0xE01F0)),
}
_MOST_MARKS = 2  # combining marks on one letter; scripts that are written with marks need no more
_UNMARKED = ("LATIN", "GREEK", "CYRILLIC", "DIGIT")  # scripts whose marked letters are letters of their own


def is_hidden(character: str) -> bool:
    """Whether a character is a control, format, direction or filler character, unassigned, or a separator of lines."""
    return character in _NOT_DRAWN or unicodedata.category(character) in ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")


def printable(line: str) -> str:
    """A message that may hold text from outside, with everything that is not printable spelled out, on one line."""
    return "".join(c if c == " " or not is_hidden(c) else ascii(c)[1:-1] for c in line)


def shown(text: object, length: int = 60) -> str:
    """Text from outside for a message: quoted, in ASCII, without control characters, cut to `length`."""
    quoted = ascii(str(text)[: length + 1])
    return quoted if len(str(text)) <= length else f"{quoted[:length]}...'"


def text_problem(text: str, *, markup: bool = True, limit: int = MAX_CHARACTERS) -> str | None:
    """Why `text` is refused, None when it is fine. Refused: too long, control or direction characters, markup."""
    if len(text) > limit:
        return f"has {len(text):,} characters; at most {limit:,} are allowed"
    for character in text:
        if is_hidden(character):
            name = unicodedata.name(character, f"U+{ord(character):04X}").lower()
            return f"holds the invisible or control character {name} (U+{ord(character):04X})"
        if not markup and character in _MARKUP:
            return f"holds {character!r}, which names and titles have no use for"
    return None


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
