"""Escape text from outside for Markdown, LaTeX and spreadsheets; HTML is left to jinja2's autoescape."""

from __future__ import annotations

import re

from ltgen_bench.core.plain_text import printable

_MARKDOWN = {
    "&": "&amp;",
    "<": "&lt;",
    ">": "&gt;",
    "|": "&#124;",  # a backslash before it does not survive inside every renderer's tables
    "`": "&#96;",
    "\\": "&#92;",
} | {character: f"\\{character}" for character in "*_[]#~!$@"}
_LATEX = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "$": r"\$",
    "&": r"\&",
    "#": r"\#",
    "%": r"\%",
    "_": r"\_",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\textquotedbl{}",
    "±": r"$\pm$",
    "–": "--",
    "−": "$-$",
    "↓": r"$\downarrow$",
    "↑": r"$\uparrow$",
    "†": r"$\dagger$",
}


# What Markdown renderers make a link of without being asked: the last character is written as a number.
_LINK_BY_ITSELF = re.compile(r"(?i)(?:https?|ftp|mailto|xmpp):|www\.")
_FORMULA = re.compile(r"[\s\x00]*[=+\-@\uff1d\uff0b\uff0d\uff20]")


def csv(text: str) -> str:
    """Text that a spreadsheet does not compute: what starts like a formula gets an apostrophe."""
    return f"'{text}" if _FORMULA.match(text) else text


def markdown(text: str) -> str:
    """Text as it reads, in a Markdown line or table cell: no markup, no HTML, no second line, no link of itself."""
    escaped = "".join(_MARKDOWN.get(character, character) for character in printable(text))
    return _LINK_BY_ITSELF.sub(lambda found: found[0][:-1] + f"&#{ord(found[0][-1])};", escaped)


def latex(text: str) -> str:
    """Text as it reads, in LaTeX."""
    return "".join(_LATEX.get(character, character) for character in printable(text))
