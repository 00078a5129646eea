"""Questions to try, on pictures of the bundled mini benchmark that the bundled checkpoint answers well."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from rsunivlm.drawing import side_by_side
from rsunivlm.tasks import Task, route

PICTURES = Path(__file__).resolve().parents[2] / "playground" / "benchmarks" / "mini" / "images" / "000"
THUMBNAIL_SIDE = 240


@dataclass(frozen=True)
class Example:
    """One set of fields of the page."""

    caption: str
    images: tuple[str, ...]
    prompt: str
    task: str = ""
    classes: str = ""

    def paths(self) -> list[Path]:
        """The picture files."""
        return [PICTURES / name for name in self.images]

    def asks(self) -> Task:
        """The task."""
        return route(self.prompt, num_images=len(self.images), task=self.task or None).task

    def thumbnail(self) -> Image.Image:
        """A small square of the picture, or half of each picture of a pair."""
        pictures = [Image.open(path).convert("RGB") for path in self.paths()]
        width = THUMBNAIL_SIDE // len(pictures)
        halves = [
            picture.resize((THUMBNAIL_SIDE, THUMBNAIL_SIDE)).crop(
                ((THUMBNAIL_SIDE - width) // 2, 0, (THUMBNAIL_SIDE + width) // 2, THUMBNAIL_SIDE)
            )
            for picture in pictures
        ]
        return side_by_side(halves)


EXAMPLES = (
    Example("Find an object", ("s000089.webp",), "the red ground track field", task="vg"),
    Example("Find, by token", ("s000118.webp",), "[VG] the green basketball court"),
    Example("Mask of water", ("s000030.webp",), "Can you segment the water in this image?", classes="water"),
    Example(
        "Changes",
        ("p000060a.webp", "p000060b.webp"),
        "Please briefly describe the changes in these two images.",
    ),
    Example("Question", ("s000001.webp",), "Are there more ships than buildings in the image?"),
    Example("Caption", ("s000049.webp",), "Describe this image in one sentence."),
    Example(
        "No changes",
        ("p000017a.webp", "p000017b.webp"),
        "Please briefly describe the changes in these two images.",
    ),
    Example("Region in words", ("s000048.webp",), "what is [33, 47, 59, 59]?"),
)


def available_examples(tasks: Sequence[Task]) -> tuple[Example, ...]:
    """The examples of some tasks, or none where the package runs from outside its source tree."""
    if not PICTURES.is_dir():
        return ()
    return tuple(example for example in EXAMPLES if example.asks() in tasks)
