"""Messages and names from outside: which characters may be shown.

Control characters can rewrite a terminal, direction marks and fillers can hide letters. Messages spell them out; text
that is kept is refused with them.
"""

from __future__ import annotations

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
