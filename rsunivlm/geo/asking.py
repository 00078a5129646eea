"""Every tile is read, asked, and its answers written to the journal, a batch at a time.

Tiles without any data are not asked about. A tile that cannot be read is noted with its reason, and the run
goes on.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from PIL import Image
from tqdm import tqdm

from rsunivlm.codecs import BoxReport
from rsunivlm.geo.job import Job
from rsunivlm.geo.journal import Journal, Line, pack_mask
from rsunivlm.geo.scene import UnreadableWindowError
from rsunivlm.inference.answer import Answer, Request
from rsunivlm.inference.tiling import Part

# Tiles without a question (no data, unreadable) are written to the journal at the latest after so many.
_QUIET_TILES = 256


class Predictor(Protocol):
    """What answers: `rsunivlm.RSUniVLM`, or anything like it."""

    def answer_batch(
        self, requests: Sequence[Request], *, batch_size: int, max_new_tokens: int | None
    ) -> list[Answer]:
        """Answers in the order of the requests."""
        ...


def ask_tiles(
    job: Job,
    predictor: Predictor,
    journal: Journal,
    *,
    batch_size: int,
    max_new_tokens: int | None,
    progress: bool,
) -> None:
    """Answer what the journal lacks.

    Args:
        job: the open run.
        predictor: answers.
        journal: of the run.
        batch_size: questions asked at once; whole tiles, so it may be a few more.
        max_new_tokens: limit of an answer.
        progress: show a bar on stderr.

    Raises:
        ValueError: the journal cannot be written.
    """
    waiting: list[list[Line]] = []
    places: list[tuple[list[Line], int]] = []
    requests: list[Request] = []

    def flush() -> None:
        answers = (
            predictor.answer_batch(requests, batch_size=batch_size, max_new_tokens=max_new_tokens)
            if requests
            else []
        )
        for (lines, index), answer in zip(places, answers, strict=True):
            lines.append({"tile": lines[0]["tile"], "question": index, "answer": to_json(answer)})
        journal.append(waiting)
        bar.update(len(waiting))
        for used in (waiting, places, requests):
            used.clear()

    done = journal.tiles
    with tqdm(total=job.tiles, initial=done, unit="tile", disable=not progress) as bar:
        for number, part in enumerate(job.tiling.parts(job.grid.size)):
            if number < done:
                continue
            line, pictures = look(job, number, part)
            waiting.append([line])
            for index, question in enumerate(job.questions if pictures else ()):
                places.append((waiting[-1], index))
                requests.append(question.about(pictures))
            if len(requests) >= batch_size or len(waiting) >= _QUIET_TILES:
                flush()
        flush()


def look(job: Job, number: int, part: Part) -> tuple[Line, list[Image.Image]]:
    """The journal's line about a tile's pixels, and its pictures; none if there is nothing to ask."""
    pictures, valid_HW = [], None
    try:
        for scene in job.scenes:
            picture, has_data = scene.read(part.window)
            pictures.append(Image.fromarray(picture))
            valid_HW = has_data if valid_HW is None else valid_HW & has_data
    except UnreadableWindowError as error:
        return {"tile": number, "error": str(error)}, []
    assert valid_HW is not None
    if not valid_HW.any():
        return {"tile": number, "valid": "none"}, []
    return {"tile": number, "valid": "all" if valid_HW.all() else pack_mask(valid_HW)}, pictures


def to_json(answer: Answer) -> dict[str, Any]:
    """What a result needs of an answer: its mask, its boxes or its words, and whether they could be read."""
    if answer.mask is not None:
        readable = answer.report is None or answer.report.valid
        return {"mask": pack_mask(answer.mask > 0), "readable": readable}
    if answer.boxes_px is not None:
        report = answer.report
        # No box at all is an answer; brackets that hold no box are none.
        readable = not isinstance(report, BoxReport) or report.valid or report.found == 0
        return {"boxes": answer.boxes_px.tolist(), "readable": readable}
    return {"text": answer.text, "readable": True}
