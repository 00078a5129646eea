"""The caption file that RSICD, UCM-captions, RSITMD and LEVIR-CC share (Karpathy's schema).

``{"images": [{"filename": ..., "split": ..., "sentences": [{"tokens": [...], "raw": "..."}]}]}``, or the bare
list of entries.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from data_tools.files import read_json
from data_tools.report import ConversionReport


def read_entries(path: Path) -> list[dict[str, Any]]:
    """Return the image entries of a caption file.

    Raises:
        ValueError: the file is missing, no JSON, or has no list of images with file name, split and (if any)
            a list of sentences.
    """
    content = read_json(path)
    entries = content.get("images") if isinstance(content, dict) else content
    if not isinstance(entries, list):
        raise ValueError(f"{path} has no list 'images'")
    for number, entry in enumerate(entries):
        names = (entry.get("filename"), entry.get("split")) if isinstance(entry, dict) else (None,)
        if not all(isinstance(name, str) and name for name in names):
            raise ValueError(f"{path}: image {number} has no 'filename' or 'split'")
        if not isinstance(entry.get("sentences", []), list):
            raise ValueError(f"{path}: image {number} has 'sentences' that are no list")
    return entries


def captions(entry: dict[str, Any], report: ConversionReport) -> tuple[str, ...]:
    """Return the sentences of an image as published, without outer blanks.

    The detached final stop (``a road appears .``) stays: it is the style the paper's answers have. Sentences
    without a letter (a few published ones are only ``.``) are reported and skipped.
    """
    found = []
    for number, sentence in enumerate(entry.get("sentences", [])):
        raw = sentence.get("raw") if isinstance(sentence, dict) else None
        text = raw.strip() if isinstance(raw, str) else ""
        if any(letter.isalpha() for letter in text):
            found.append(text)
        else:
            report.skip(f"{entry['filename']} sentence {number}", f"is empty: {raw!r}")
    return tuple(found)
