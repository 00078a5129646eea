"""The list of all converters: whatever the modules in `data_tools.converters` offer."""

from __future__ import annotations

import importlib
import pkgutil
from functools import cache

import data_tools.converters
from data_tools.converter import Converter


@cache
def converters() -> dict[str, Converter]:
    """Return all converters by name, in alphabetical order."""
    found: dict[str, Converter] = {}
    for module in pkgutil.iter_modules(data_tools.converters.__path__, "data_tools.converters."):
        for converter in importlib.import_module(module.name).CONVERTERS:
            name = converter.manifest.name
            assert name not in found, f"two converters are called {name}"
            found[name] = converter
    return dict(sorted(found.items()))
