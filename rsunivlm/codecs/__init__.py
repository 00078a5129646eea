"""Text codecs: boxes and masks as the words a language model reads and writes.

Numpy only, no torch and no PIL, so that data converters and metrics can use them anywhere. A parser here
never raises on a model's text: it returns what it could read and a report of what it repaired or dropped.
"""

from rsunivlm.codecs.boxes import BoxCodec, BoxReport
from rsunivlm.codecs.mask_reader import MaskReport
from rsunivlm.codecs.masks import MaskCodec

__all__ = ["BoxCodec", "BoxReport", "MaskCodec", "MaskReport"]
