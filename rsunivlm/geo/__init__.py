"""Large rasters in, georeferenced results out (extra `geo`).

`process_raster` is the whole of it; `plan_raster` says beforehand what it will take. docs/rasters.md shows
both, and the command `rsunivlm raster`.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

# Name -> module: the command line reads its options from this package and must stay light.
_EXPORTS = {
    "Options": "rsunivlm.geo.job",
    "Plan": "rsunivlm.geo.plan",
    "RasterResult": "rsunivlm.geo.process",
    "plan_raster": "rsunivlm.geo.plan",
    "process_raster": "rsunivlm.geo.process",
}

__all__ = sorted(_EXPORTS)

if TYPE_CHECKING:
    from rsunivlm.geo.job import Options as Options
    from rsunivlm.geo.plan import Plan as Plan
    from rsunivlm.geo.plan import plan_raster as plan_raster
    from rsunivlm.geo.process import RasterResult as RasterResult
    from rsunivlm.geo.process import process_raster as process_raster


def __getattr__(name: str) -> Any:
    if name not in _EXPORTS:
        raise AttributeError(f"module 'rsunivlm.geo' has no attribute {name!r}")
    return getattr(importlib.import_module(_EXPORTS[name]), name)
