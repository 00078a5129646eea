"""Fixtures for rasters: the module of planted scenes, and the whole road with its predictor."""

from __future__ import annotations

import importlib.util
import resource
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest


@pytest.fixture(scope="session")
def planted() -> ModuleType:
    """The module `planted` beside this file, which is also run as a program."""
    spec = importlib.util.spec_from_file_location("planted", Path(__file__).with_name("planted.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def small_files() -> Callable[..., AbstractContextManager[None]]:
    """A context in which files cannot grow beyond some bytes: what a full disk looks like to a program."""

    @contextmanager
    def limited(most: int | None) -> Iterator[None]:
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (before[0] if most is None else most, before[1]))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)

    return limited


@pytest.fixture
def scene(tmp_path: Path, planted: ModuleType) -> Path:
    """A scene in UTM with all planted objects."""
    return planted.write(tmp_path / "scene.tif", planted.paint())


@pytest.fixture
def run(tmp_path: Path, planted: ModuleType) -> Callable[..., Any]:
    """`process_raster` with a predictor that sees colours, all classes and tiles of 64 pixels."""
    from rsunivlm.geo import Options, process_raster

    def call(source: Any, out: str = "out.gpkg", *, predictor: Any = None, **arguments: Any) -> Any:
        names = ("task", "classes", "prompt", "restart", "overwrite", "model_id")
        given = {name: arguments.pop(name) for name in names if name in arguments}
        given = {"task": "seg", "classes": list(planted.COLOURS), "model_id": "colours"} | given
        return process_raster(
            source,
            tmp_path / out,
            model=predictor or planted.ColourPredictor(),
            options=Options(**({"tile": 64} | arguments)),
            **given,
        )

    return call
