"""HTML and SVG as nested function calls, in which text can only come out escaped.

    element("td", "a < b", class_="name")  ->  <td class="name">a &lt; b</td>

Answers of models and names in users' files go into reports, and nobody knows what is in them. So a plain
string is always text, never markup; only what `element` returns is markup already.
"""

from __future__ import annotations

import html
from collections.abc import Iterable
from typing import TypeAlias

_VOID = frozenset({"br", "img", "meta"})


class Markup(str):
    """A string that is markup already."""

    __slots__ = ()


Content: TypeAlias = str | int | float | Iterable["Content"] | None


def element(name: str, /, *content: Content, **attributes: str | float | None) -> Markup:
    """An element.

    Args:
        name: its tag.
        content: texts, numbers, other elements, or nested sequences of these; None is left out.
        attributes: by name, with a trailing underscore where Python reserves the name and underscores for
            hyphens; None is left out. Floats are coordinates, written with two decimals.
    """
    written = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{html.escape(_text(value))}"'
        for key, value in attributes.items()
        if value is not None
    )
    if name in _VOID:
        return Markup(f"<{name}{written}>")
    return Markup(f"<{name}{written}>{joined(content)}</{name}>")


def joined(content: Content) -> Markup:
    """Content one after the other, texts escaped."""
    if content is None:
        return Markup()
    if isinstance(content, Markup):
        return content
    if isinstance(content, str | int | float):
        return Markup(html.escape(_text(content)))
    return Markup("".join(joined(part) for part in content))


def _text(value: str | float) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)
