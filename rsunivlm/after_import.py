"""Tell transformers' Auto classes about our models as soon as somebody loads them, and not before.

``import rsunivlm`` must stay light, and still `AutoModelForImageTextToText.from_pretrained` has to know our
families, whichever of the two packages a program imports first. So nothing is registered at import: a finder
on `sys.meta_path` looks on while modules of transformers are loaded, and hands each of its Auto modules to
`rsunivlm.models.auto.register`.

Not in the middle of it, though. Registering imports our model, which imports more of transformers; done while
an outer module of transformers (or of ours) is half executed, that would run into it in a circle. So the
finder counts how deep the import is and registers when the outermost module is complete, before the import
statement of the program returns.
"""

from __future__ import annotations

import importlib
import sys
import threading
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

WATCHED = ("transformers", "rsunivlm")
AUTO_PREFIX = "transformers.models.auto."


class _Imports(threading.local):
    """What this thread is in the middle of.

    Attributes:
        depth: Watched modules, one importing the next.
        loaded: Auto modules that wait for the outermost of them.
    """

    def __init__(self) -> None:
        self.depth = 0
        self.loaded: list[str] = []


class AutoModuleFinder:
    """Finds nothing itself: lets the finders behind it find, and looks on while the module is executed."""

    def __init__(self) -> None:
        self._imports = _Imports()

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """The module's specification, its loader wrapped, if it is one to look at."""
        if fullname.partition(".")[0] not in WATCHED:
            return None
        for finder in sys.meta_path[sys.meta_path.index(self) + 1 :]:
            spec = finder.find_spec(fullname, path, target)
            if spec is not None:
                if spec.loader is not None:  # a namespace package has nothing to execute
                    spec.loader = _WatchedLoader(spec.loader, self)  # type: ignore[assignment]
                return spec
        return None

    def execute(self, loader: Any, module: ModuleType) -> None:
        """Execute a module; at the end of the outermost, register with the Auto modules loaded meanwhile."""
        self._imports.depth += 1
        try:
            loader.exec_module(module)
            if module.__name__.startswith(AUTO_PREFIX):
                self._imports.loaded.append(module.__name__)
            if self._imports.depth == 1:
                self.register_loaded()
        finally:
            self._imports.depth -= 1

    def register_loaded(self, already: Sequence[str] = ()) -> None:
        """Register with Auto modules that are complete; they may load more of them, which follow."""
        self._imports.loaded += already
        while self._imports.loaded:
            name = self._imports.loaded.pop(0)
            importlib.import_module("rsunivlm.models.auto").register(name)


class _WatchedLoader:
    """A loader that lets the finder look on; the module keeps the loader it would have had."""

    def __init__(self, loader: Any, finder: AutoModuleFinder) -> None:
        self._loader = loader
        self._finder = finder

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        created: ModuleType | None = self._loader.create_module(spec)
        return created

    def exec_module(self, module: ModuleType) -> None:
        module.__loader__ = self._loader
        if module.__spec__ is not None:
            module.__spec__.loader = self._loader
        self._finder.execute(self._loader, module)

    def __getattr__(self, name: str) -> Any:
        # `python -m` and tools that read sources ask the loader for more than imports do.
        return getattr(self._loader, name)


def install() -> None:
    """Register with the Auto modules that are loaded already, and watch for those to come."""
    if any(isinstance(finder, AutoModuleFinder) for finder in sys.meta_path):
        return
    finder = AutoModuleFinder()
    sys.meta_path.insert(0, finder)
    finder.register_loaded([name for name in sys.modules if name.startswith(AUTO_PREFIX)])
