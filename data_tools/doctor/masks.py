"""Whether a mask's text, its file and the question agree.

Without ``deep`` only the text and the mask's header are read. With it the mask is decoded, brought to the
codec's grid and compared with the text cell by cell, and its values are gathered: over a whole dataset every
value must be asked for, ignored, or be the one value of the background.

Shapes: H, W rows and columns of the mask, G of the codec's grid.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from data_tools.doctor.findings import Kind
from data_tools.doctor.texts import Fault
from data_tools.files import image_size
from data_tools.label_values import IGNORED, read_codes, truth_of, value_code
from rsunivlm.codecs import MaskCodec
from rsunivlm.data.records import Target, resolve_image

# Different values of one mask that are gathered: a mask saved as JPEG would have hundreds of thousands.
_KEPT_VALUES = 300


class MaskChecker:
    """Checks the mask records of one chunk; keeps the last mask, since its classes follow one another.

    Attributes:
        path: of the mask that was checked last.
        values: values found in the masks, with the number of masks that have each and one of them.
        asked: values that the records ask for or ignore.
    """

    def __init__(self, root: Path, codec: MaskCodec, deep: bool) -> None:
        self.path = ""
        self.values: dict[int, tuple[int, str]] = {}
        self.asked: set[int] = set()
        self._root, self._codec, self._deep = root, codec, deep
        self._size: tuple[int, int] | None = None
        self._fault: Fault | None = None
        self._codes_HW: NDArray[np.integer] | None = None

    def check(self, text: str, target: Target, size: tuple[int, int] | None) -> Iterator[Fault]:
        """Check one answer; see `rsunivlm.data.records` for the keys of the target.

        Args:
            text: the answer.
            target: holds mask, labels and value.
            size: (width, height) of the image, None if unknown.
        """
        labels, value, ignored = target["labels"], target["value"], target.get("ignore", [])
        try:
            code, ignored_codes = value_code(value), [value_code(entry) for entry in ignored]
            grid_GG, report = self._codec.text_to_grid(text, labels)
        except (ValueError, TypeError, AttributeError) as error:
            yield Kind.NO_TRUTH, f"labels {labels!r}, value {value!r} or ignore {ignored!r}: {error}"
            return
        if len(labels) != 2:
            yield Kind.NO_TRUTH, f"labels {labels!r} must be the background and the class that `value` means"
            return
        if report.unknown_labels:
            yield Kind.MASK_LABEL, f"{', '.join(report.unknown_labels[:3])!r} is not among {labels}"
        elif not report.clean:
            yield Kind.MASK_TEXT, f"cannot be read as it stands: {report}"
        self.asked |= {code, *ignored_codes}
        self._open(target["mask"], coloured=isinstance(value, list))
        if self._fault is not None:
            yield self._fault
        elif size is not None and self._size != size:
            yield Kind.MASK_SIZE, f"is {self._size}, its image {size} (width, height)"
        elif self._codes_HW is not None and report.clean:
            truth_HW = truth_of(self._codes_HW, code, ignored_codes)
            truth_GG = self._codec.to_grid(truth_HW, 2, ignore_index=IGNORED)
            if wrong := int((truth_GG != grid_GG).sum()):
                yield Kind.MASK_DIFFERS, f"{wrong} of {grid_GG.size} cells differ from {self.path}"

    def _open(self, mask: str, *, coloured: bool) -> None:
        if mask == self.path:
            return
        self.path, self._size, self._fault, self._codes_HW = mask, None, None, None
        try:
            path = resolve_image(self._root, mask)
        except ValueError as error:
            self._fault = Kind.OUTSIDE, str(error)
            return
        if not path.is_file():
            self._fault = Kind.MASK_MISSING, f"is not below {self._root}"
            return
        try:
            self._size = image_size(path)
            if self._deep:
                self._codes_HW = read_codes(path, coloured=coloured)
        except ValueError as error:
            self._fault = Kind.MASK_UNREADABLE, str(error)
            return
        if self._codes_HW is not None:
            for value in np.unique(self._codes_HW)[:_KEPT_VALUES].tolist():
                count, first = self.values.get(value, (0, mask))
                self.values[value] = count + 1, first
