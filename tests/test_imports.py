"""The rooms of the house: which package may import which, and what asking a question must not load."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
BASE = {
    *("rsunivlm", "rsunivlm.tasks", "rsunivlm.images", "rsunivlm.codecs", "rsunivlm.drawing"),
    *("rsunivlm.captions", "rsunivlm.yaml_files"),
}
# Room -> rooms it may import besides itself. Imports point one way.
ALLOWED = {
    "rsunivlm.tasks": set(),
    "rsunivlm.after_import": set(),
    "rsunivlm.images": set(),
    "rsunivlm.codecs": set(),
    "rsunivlm.drawing": set(),
    "rsunivlm.captions": set(),
    "rsunivlm.yaml_files": set(),
    "rsunivlm.models": BASE,
    "rsunivlm.data": BASE | {"rsunivlm.models"},
    "rsunivlm.training": BASE | {"rsunivlm.models", "rsunivlm.data"},
    "rsunivlm.inference": BASE | {"rsunivlm.models", "rsunivlm.data"},
    "rsunivlm.geo": BASE | {"rsunivlm.models", "rsunivlm.data", "rsunivlm.inference"},
    "rsunivlm.serving": BASE | {"rsunivlm.models", "rsunivlm.data", "rsunivlm.inference"},
    "rsunivlm.trimming": BASE | {"rsunivlm.models", "rsunivlm.inference"},
    "rsunivlm.demo": BASE | {"rsunivlm.inference", "rsunivlm.geo"},
    "rsunivlm.card": BASE | {"rsunivlm.models", "rsunivlm.inference"},
    "rsunivlm.convert_command": BASE | {"rsunivlm.models", "rsunivlm.inference"},
    "rsunivlm.export_command": BASE | {"rsunivlm.models", "rsunivlm.inference"},
    "rsunivlm.cli": BASE
    | {"rsunivlm.models", "rsunivlm.data", "rsunivlm.inference", "rsunivlm.training"}
    | {"rsunivlm.geo", "rsunivlm.serving", "rsunivlm.demo", "rsunivlm.card", "rsunivlm.trimming"}
    | {"rsunivlm.convert_command", "rsunivlm.export_command"},
    "data_tools": BASE | {"rsunivlm.data"},
    "eval": BASE | {"rsunivlm.data", "rsunivlm.inference", "data_tools"},
    "scripts": BASE | {"rsunivlm.data", "rsunivlm.training", "data_tools"},
    "playground": {"rsunivlm.cli"},
}
# `rsunivlm/data` has two halves: records and mixtures know no model, so that data_tools stays light.
TORCH_FREE = (
    "rsunivlm/tasks.py",
    "rsunivlm/after_import.py",
    "rsunivlm/images.py",
    "rsunivlm/drawing.py",
    "rsunivlm/captions.py",
    "rsunivlm/yaml_files.py",
    "rsunivlm/codecs",
    "rsunivlm/data/records.py",
    "rsunivlm/data/mixtures.py",
    "data_tools",
)
HEAVY = {"torch", "torchvision", "timm", "transformers", "deepspeed"}
# May be imported only inside functions, but for the rooms below: asking a question must not need them.
OPTIONAL = {
    "deepspeed",
    "accelerate",
    "tensorboard",
    "peft",
    "rasterio",
    "affine",
    "geopandas",
    "pyogrio",
    "pyproj",
    "shapely",
    "gradio",
    "pycocoevalcap",
    "pycocotools",
    "flash_attn",
    "liger_kernel",
    "datasets",
    "sklearn",
    "gguf",
    "fastapi",
    "starlette",
    "pydantic",
    "uvicorn",
    "prometheus_client",
}
# Rooms that are loaded only for one extra may import it anywhere. Training runs on transformers' Trainer,
# which is accelerate's; the command line knows of the server only its options.
OWN_EXTRA = {
    "rsunivlm.training": {"accelerate"},
    "rsunivlm.demo": {"gradio", "starlette"},
    "rsunivlm.serving": {"fastapi", "starlette", "pydantic", "uvicorn", "prometheus_client"},
}


def sources() -> list[Path]:
    return [
        path
        for room in ("rsunivlm", "data_tools", "eval", "scripts", "playground")
        for path in (ROOT / room).rglob("*.py")
    ]


def imported(path: Path, *, top_level_only: bool = False) -> set[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    nodes = tree.body if top_level_only else list(ast.walk(tree))
    names: set[str] = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names.add(node.module or "")
    return names


def room_of(module: str) -> str:
    return max((room for room in ALLOWED if (module + ".").startswith(room + ".")), key=len, default=module)


@pytest.mark.parametrize("path", sources(), ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_point_one_way(path: Path) -> None:
    relative = path.relative_to(ROOT)
    room = room_of(".".join(relative.with_suffix("").parts))
    for module in imported(path):
        if module.split(".")[0] in ("rsunivlm", "data_tools", "eval", "scripts") and room in ALLOWED:
            assert room_of(module) in ALLOWED[room] | {room}, f"{relative} ({room}) must not import {module}"
    tops = {module.split(".")[0] for module in imported(path, top_level_only=True)}
    assert not tops & (OPTIONAL - OWN_EXTRA.get(room, set())), (
        f"{relative} imports an optional package at its top"
    )
    if str(relative).startswith(TORCH_FREE):
        assert not tops & HEAVY, f"{relative} must stay free of torch"


def test_importing_the_package_loads_nothing_heavy() -> None:
    names = ("torch", "transformers", "timm", "numpy")
    code = f"import sys, rsunivlm; print([m for m in {names} if m in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def test_asking_a_question_needs_no_extra() -> None:
    code = (
        "import sys\n"
        "class Refuse:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        f"        if name.split('.')[0] in {OPTIONAL!r}: raise ImportError(name)\n"
        "sys.meta_path.insert(0, Refuse())\n"
        "import rsunivlm.inference.predictor, rsunivlm.cli, rsunivlm.inference.draw\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
