"""The little Markdown that cards are written in: names that stay names, and HTML of it."""

from __future__ import annotations

import html
import re
import unicodedata
from itertools import groupby

JOINERS = "\u200c\u200d"
"""Invisible, but words and emoji are made with them."""
SPECIAL = r"\`*_{}[]<>#|&"
INLINE = re.compile(r"\\(.)|`([^`]*)`|\[([^\[\]]*)\]\(([\w][\w./-]*)\)|(.)", re.DOTALL)
CELL = re.compile(r"(?<!\\)\|")
RULER = re.compile(r"\|[\s|:-]+")


def plain_text(text: str) -> str:
    """Return a name so that Markdown shows it as it is: one line, nothing interpreted.

    Example:
        >>> plain_text("a|b_c")
        'a\\\\|b\\\\_c'
    """
    visible = "".join(" " if _invisible(letter) else letter for letter in text)
    return "".join(f"\\{letter}" if letter in SPECIAL else letter for letter in visible)


def to_html(text: str) -> str:
    """Return a card's text as HTML: every part under a heading of second rank is a section.

    Headings, paragraphs, lists, tables, `code` and links to files beside the card are known;
    everything else is shown as it is written.

    Args:
        text: the card; what it says of others (class names) comes from anywhere.

    Example:
        >>> to_html("- a <b> and `c`")
        '<ul>\\n<li>a &lt;b&gt; and <code>c</code></li>\\n</ul>'
    """
    found: list[str] = []
    inside = False
    for kind, group in groupby(text.splitlines(), _kind):
        lines = list(group)
        if kind == "heading":
            for line in lines:
                if line.startswith("## "):
                    found.append("</section>\n<section>" if inside else "<section>")
                    inside = True
                rank = 2 if line.startswith("## ") else 1
                found.append(f"<h{rank}>{_inline(line[rank + 1 :])}</h{rank}>")
        elif kind == "item":
            items = "\n".join(f"<li>{_inline(line[2:])}</li>" for line in lines)
            found.append(f"<ul>\n{items}\n</ul>")
        elif kind == "table":
            found.append(_table(lines))
        elif kind == "text":
            found.append(f"<p>{_inline(' '.join(lines))}</p>")
    return "\n".join([*found, *(["</section>"] if inside else [])])


def _kind(line: str) -> str:
    if line.startswith(("# ", "## ")):
        return "heading"
    if line.startswith("- "):
        return "item"
    if line.startswith("|"):
        return "table"
    return "text" if line.strip() else "space"


def _table(lines: list[str]) -> str:
    rows = [
        [_inline(cell.strip()) for cell in CELL.split(line.strip().strip("|"))]
        for line in lines
        if not RULER.fullmatch(line)
    ]
    head = "".join(f'<th scope="col">{cell}</th>' for cell in rows[0])
    body = "\n".join(
        f'<tr><th scope="row">{first}</th>{"".join(f"<td>{cell}</td>" for cell in more)}</tr>'
        for first, *more in rows[1:]
    )
    return (
        f'<div class="scroll"><table>\n<thead><tr>{head}</tr></thead>\n'
        f"<tbody>\n{body}\n</tbody></table></div>"
    )


def _inline(text: str) -> str:
    return "".join(_piece(found) for found in INLINE.finditer(text))


def _piece(found: re.Match[str]) -> str:
    escaped, code, words, place, letter = found.groups()
    if code is not None:
        return f"<code>{html.escape(code)}</code>"
    if place is not None:
        return f'<a href="{html.escape(place)}">{html.escape(words)}</a>'
    return html.escape(letter if escaped is None else escaped)


def _invisible(letter: str) -> bool:
    """Say whether a letter is a control, a surrogate or turns the reading direction."""
    return unicodedata.category(letter)[0] == "C" and letter not in JOINERS
