"""What one visitor of the page may ask for."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """Bounds of uploads, questions and waiting.

    Attributes:
        max_file_mb: Megabytes of an uploaded file.
        max_pixels: Pixels of a plain image, which is decoded whole.
        max_raster_pixels: Pixels of a GeoTIFF, which is read block by block and reduced on the way.
        max_prompt_chars: Length of a prompt, and of the list of classes.
        max_classes: Names in the list of classes.
        max_seconds: Decoding time of one answer.
        max_waiting: Questions that may wait; more are turned away.
    """

    max_file_mb: float = 200
    max_pixels: int = 50_000_000
    max_raster_pixels: int = 400_000_000
    max_prompt_chars: int = 2000
    max_classes: int = 64
    max_seconds: float = 60
    max_waiting: int = 16

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if value <= 0:
                raise ValueError(f"{name} must be above 0, got {value:g}")

    def summary(self) -> str:
        """One sentence for the page."""
        return (
            f"Files up to {self.max_file_mb:g} MB, images up to {self.max_pixels / 1e6:g} megapixels, "
            f"GeoTIFFs up to {self.max_raster_pixels / 1e6:g}; {self.max_seconds:g} seconds an answer."
        )
