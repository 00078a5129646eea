"""HTML pages that stand alone: style and pictures are inside, nothing is fetched and nothing runs.

Whatever comes from data goes through `text`, so that an annotation can never become markup.
"""

from __future__ import annotations

import base64
import html
import io

from PIL import Image

_STYLE = """
:root { color-scheme: light dark; }
body { font: 15px/1.45 system-ui, sans-serif; margin: 2rem auto; max-width: 84rem; padding: 0 1rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.2rem; margin-top: 2rem; }
table { border-collapse: collapse; width: 100%; }
th, td { text-align: left; vertical-align: top; padding: .3rem .6rem; border-bottom: 1px solid #8886; }
td.number { text-align: right; font-variant-numeric: tabular-nums; }
code, .text { font-family: ui-monospace, monospace; font-size: .85em; overflow-wrap: anywhere; }
.text { white-space: pre-wrap; max-height: 12rem; overflow: auto; }
.faint { opacity: .7; }
"""


def text(value: object) -> str:
    """Any value as text that is safe between tags and inside quoted attributes."""
    return html.escape(str(value), quote=True)


def page(title: str, body: str, style: str = "") -> str:
    """A whole page.

    Args:
        title: plain text.
        body: markup.
        style: further CSS.
    """
    policy = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width">\n'
        f"<title>{text(title)}</title>\n<style>{_STYLE}{style}</style>\n</head>\n"
        f"<body>\n<h1>{text(title)}</h1>\n{body}\n</body>\n</html>\n"
    )


def picture(image: Image.Image, description: str, *, quality: int = 85) -> str:
    """An ``<img>`` with the picture inside as JPEG."""
    stream = io.BytesIO()
    image.convert("RGB").save(stream, "JPEG", quality=quality)
    data = base64.b64encode(stream.getvalue()).decode("ascii")
    return (
        f'<img width="{image.width}" height="{image.height}" alt="{text(description)}" '
        f'src="data:image/jpeg;base64,{data}">'
    )
