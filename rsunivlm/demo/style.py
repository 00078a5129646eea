"""Colours, letters and the few rules that Gradio's theme leaves open; light and dark by its variables."""

from __future__ import annotations

import gradio as gr

CSS = """
.gradio-container { width: 100%; max-width: 1280px !important; margin: 0 auto; }
.rs-header h1 { font-size: 1.6rem; font-weight: 650; margin: 0 0 .2rem; }
.rs-header p { margin: 0; color: var(--body-text-color-subdued); }
#rs-uploads .icon-wrap, #rs-uploads td.download { display: none; }
.rs-empty {
  display: flex; align-items: center; justify-content: center; min-height: 240px; padding: 1.5rem;
  text-align: center; color: var(--body-text-color-subdued);
  border: 1px dashed var(--border-color-primary); border-radius: var(--radius-lg);
}
.rs-error {
  color: var(--error-text-color); border-color: var(--error-border-color); overflow-wrap: anywhere;
}
.rs-scene { font-size: .85rem; color: var(--body-text-color-subdued); overflow-wrap: anywhere; }
.rs-answer { font-size: 1.25rem; font-weight: 600; margin: 0 0 .5rem; overflow-wrap: anywhere; }
.rs-detail { margin: 0 0 .5rem; font-family: var(--font-mono); font-size: .85rem; }
.rs-warning {
  margin: 0 0 .5rem; padding: .4rem .7rem; border-left: 3px solid #E69F00;
  background: var(--background-fill-secondary); overflow-wrap: anywhere;
}
.rs-legend {
  list-style: none; display: flex; flex-wrap: wrap; gap: .3rem 1.2rem; margin: 0 0 .6rem; padding: 0;
}
.rs-legend li { margin: 0; overflow-wrap: anywhere; }
.rs-swatch {
  display: inline-block; width: .9em; height: .9em; margin-right: .3em; vertical-align: -.08em;
  border: 1px solid var(--border-color-primary); border-radius: 3px;
}
.rs-route { display: flex; flex-wrap: wrap; gap: .4rem; margin: 0; }
.rs-route div {
  padding: .2rem .6rem; font-size: .85rem; border-radius: var(--radius-md);
  background: var(--background-fill-secondary); border: 1px solid var(--border-color-primary);
}
.rs-route dt, .rs-route dd { display: inline; margin: 0; }
.rs-route dt { color: var(--body-text-color-subdued); margin-right: .35em; }
.rs-heading { margin: 0; color: var(--body-text-color-subdued); }
.rs-footer { font-size: .8rem; color: var(--body-text-color-subdued); }
/* The gallery: as many thumbnails in a row as fit, captions below them. */
#rs-examples .grid-wrap { height: auto; max-height: none; min-height: 0; padding: 0; }
#rs-examples .grid-container {
  grid-template-columns: repeat(auto-fill, minmax(100px, 1fr)); gap: .6rem; padding: 0; align-items: start;
}
#rs-examples .thumbnail-item {
  aspect-ratio: auto; height: auto; border: 0; box-shadow: none; background: none;
}
#rs-examples .thumbnail-item img { aspect-ratio: 1; height: auto; border-radius: var(--radius-md); }
#rs-examples .caption-label {
  position: static; max-width: none; padding: .2rem 0 0; border: 0; background: none; box-shadow: none;
  font-size: .78rem; line-height: 1.2; white-space: normal; text-align: center; color: var(--body-text-color);
}
"""


def theme() -> gr.themes.Base:
    """The theme, with the system's letters: the default ones would be fetched from a font service."""
    return gr.themes.Default(
        primary_hue="teal",
        neutral_hue="slate",
        font=["system-ui", "-apple-system", "Segoe UI", "Roboto", "sans-serif"],
        font_mono=["ui-monospace", "Consolas", "monospace"],
    )
