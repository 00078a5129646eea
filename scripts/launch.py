"""Start a training stage: choose the recipe, make its data, train.

The scripts `train_*.sh` call `run`. The arguments are a recipe (a file, or the name of one in
`scripts/recipes`) and overrides, ``key=value`` or ``--key value``. Without a recipe the paper's runs if its
datasets and base weights are in place, else a bundled quick one, after saying what is missing.
"""

from __future__ import annotations

import atexit
import os
import shlex
import sys
import time
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Literal, NoReturn

SCRIPTS = Path(__file__).resolve().parent
sys.path.insert(0, str(SCRIPTS.parent))  # so that an uninstalled checkout runs too

RANK = int(os.environ.get("RANK", 0))
LOCAL_RANK = int(os.environ.get("LOCAL_RANK", 0))

# Commands that fill a folder -> the file they write last. The folder alone says nothing: some work inside it.
FINISHED = {
    "convert": "conversion.json",
    "synth": "manifest.json",
    "tokenizer": "tokenizer.json",
    "split-captions": "split.json",
}
# Family -> its recipe for real weights and data, and one that runs anywhere.
DEFAULTS = {"rsunivlm": ("paper", "quick"), "rs_moe": ("rs_moe", "rsmoe_quick")}


def run(stage: Literal[1, 2], family: str = "rsunivlm") -> NoReturn:
    """Run one stage of a model family as a program."""
    code = 1  # of an error that nothing catches

    def leave() -> None:
        sys.stdout.flush()
        sys.stderr.flush()
        if code == 1:
            time.sleep(
                3
            )  # another may have died first and cut the connection: the launcher names whom it finds
        os._exit(code)

    if int(os.environ.get("WORLD_SIZE", 1)) > 1:
        # DeepSpeed keeps process groups that destroy_process_group does not end, and at a normal exit their
        # gloo threads sometimes abort the process, though all is done. Registered before any library is
        # imported, this comes last: after whatever loggers and loader workers do at the end.
        atexit.register(leave)
    code = main(stage, family=family)
    sys.exit(code)


def main(stage: Literal[1, 2], arguments: Sequence[str] | None = None, *, family: str = "rsunivlm") -> int:
    """Run one stage of a model family; returns the exit code (2 for the user's mistakes)."""
    share_cores()
    if absent := [name for name in ("accelerate", "tensorboard") if find_spec(name) is None]:
        return refuse(f"training needs {' and '.join(absent)}: pip install -e '.[train]'")
    # Here, not above: these import torch, and the number of threads is read once, at its import.
    from rsunivlm.training.guards import LocalError, StoppedElsewhereError
    from rsunivlm.training.recipe import load_recipe, parse_overrides
    from rsunivlm.training.run import train

    try:
        named, overrides = split_arguments(sys.argv[1:] if arguments is None else arguments)
        path = recipe_file(named) if named else default_recipe(stage, family)
        recipe = load_recipe(path, stage, parse_overrides(overrides))
        if recipe.family != family:
            raise ValueError(f"{path} is a recipe for {recipe.family}, this script trains {family}")
        for folder, command in recipe.prepare.items():
            prepare(Path(folder), command)
        output = train(recipe)
    except StoppedElsewhereError:
        time.sleep(30)  # until the process that knows why has said so; the launcher then ends this one
        return 2
    except ValueError as error:
        if RANK and not isinstance(error, LocalError):
            time.sleep(15)  # the first process meets the same mistake, speaks for all and ends them
        lines = str(error).strip().splitlines()
        # An error from a loader worker arrives as a traceback; its last line is the message.
        from_worker = any(line.startswith("Original Traceback") for line in lines)
        return refuse(lines[-1].removeprefix("ValueError: ") if from_worker else " ".join(lines))
    say(f"stage {stage} is done: {output}")
    return 0


def split_arguments(arguments: Sequence[str]) -> tuple[str | None, list[str]]:
    """Separate the recipe, if the first argument names one, from the overrides."""
    # `--local_rank` is the launcher's; the environment says the same.
    rest = [argument for argument in arguments if not argument.startswith("--local_rank=")]
    if rest and not rest[0].startswith("--") and "=" not in rest[0]:
        return rest[0], rest[1:]
    for index, argument in enumerate(rest):
        if argument.startswith(("recipe=", "--recipe=")):
            return argument.partition("=")[2], rest[:index] + rest[index + 1 :]
        if argument == "--recipe" and index + 1 < len(rest):
            return rest[index + 1], rest[:index] + rest[index + 2 :]
    return None, rest


def recipe_file(name: str) -> Path:
    """The file of a recipe given by path or by name."""
    bundled = SCRIPTS / "recipes" / f"{name}.yaml"
    return bundled if bundled.is_file() else Path(name)


def default_recipe(stage: Literal[1, 2], family: str = "rsunivlm") -> Path:
    """The paper's recipe if it can run, else a quick one."""
    paper, quick = map(recipe_file, DEFAULTS[family])
    missing = missing_inputs(paper, stage)
    if not missing:
        say(f"recipe: {paper}")
        return paper
    say("The paper's recipe cannot run here. Missing:", *[f"  {item}" for item in missing], sep="\n")
    say(f"Running the bundled quick recipe instead: {quick}")
    return quick


def missing_inputs(path: Path, stage: Literal[1, 2]) -> list[str]:
    """What a recipe needs and does not find, and how to make it: starting checkpoint and mixture."""
    from rsunivlm.training.recipe import load_recipe
    from rsunivlm.training.run import FAMILIES, load_mixture

    recipe = load_recipe(path, stage)
    missing = []
    if recipe.start_dir is not None:
        try:
            FAMILIES[recipe.family](recipe).read_start(recipe.start_dir)
        except ValueError as error:
            # What is missing, without the advice that follows it.
            missing.append(f"starting weights: {str(error).partition(';')[0]}")
    try:
        load_mixture(recipe)
    except ValueError as error:
        missing.append(f"data: {error}")
        if isinstance(recipe.mixture, str) and recipe.family == "rsunivlm":
            missing += _how_to_mix(stage, Path(recipe.mixture))
    return missing


def _how_to_mix(stage: Literal[1, 2], mixture: Path) -> list[str]:
    """The datasets that a mixture file of the paper lacks, and the commands that make them and it."""
    from data_tools.mix.sources import find_unready

    data = mixture.parent.parent
    try:
        unready = find_unready(f"stage{stage}", data)
    except ValueError as error:
        return [f"data: {error}"]
    return [
        *([f"datasets that are not converted: {', '.join(unready)}"] if unready else []),
        f"make each: python -m data_tools convert NAME --root FOLDER --out {data}/NAME",
        f"and then: python -m data_tools mix stage{stage} --data {data} --out {mixture}",
    ]


def prepare(folder: Path, command: str) -> None:
    """Fill a data folder with `python -m data_tools`, once; other processes of the node wait.

    Raises:
        ValueError: the command is none that fills a folder, uses an unset variable, or failed.
    """
    from rsunivlm.data.mixtures import expand_variables

    words = shlex.split(expand_variables(command, f"prepare: {folder}"))
    if not words or words[0] not in FINISHED:
        raise ValueError(f"prepare: {folder}: begin with one of {', '.join(FINISHED)}, not {command!r}")
    finished = folder / FINISHED[words[0]]
    if LOCAL_RANK == 0 and not finished.is_file():
        from data_tools.__main__ import main as data_tools

        say(f"making {folder}: python -m data_tools {command}")
        if data_tools([*words, "--out", str(folder)]):
            raise ValueError(f"could not make {folder}; see the message above")
    while not finished.is_file():
        time.sleep(0.5)  # if the process that makes it fails, the launcher ends this one


def share_cores() -> None:
    """Give each process of the node its share of the cores, unless the user has said how many threads."""
    processes = int(os.environ.get("LOCAL_WORLD_SIZE") or os.environ.get("LOCAL_SIZE") or 1)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, cores // processes)))


def refuse(message: str) -> int:
    """Print what is wrong; returns the exit code for it."""
    print(f"error: {message}", file=sys.stderr, flush=True)  # noqa: T201
    return 2


def say(*lines: str, sep: str = " ") -> None:
    """Print once per run, not once per process."""
    if RANK == 0:
        print(*lines, sep=sep, flush=True)  # noqa: T201
