"""The card itself: front matter for the hub, then Markdown; from facts, scores and its publisher's word."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from huggingface_hub import ModelCardData

from rsunivlm import __version__
from rsunivlm.card.facts import Facts
from rsunivlm.card.scores import Score
from rsunivlm.tasks import Granularity, Task

_LICENSE = re.compile(r"[a-z0-9][a-z0-9.+-]*")
_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
# How the hub's users look for a task; a card claims only tasks that it has scores of.
_TAGS = {
    Task.SC: "scene-classification",
    Task.VQA: "visual-question-answering",
    Task.CAP: "image-captioning",
    Task.VG: "visual-grounding",
    Task.REG: "referring-expression-generation",
    Task.SS: "segmentation",
    Task.CC: "change-captioning",
    Task.CD: "change-detection",
}
_DESCRIPTIONS = {
    Task.SC: "scene class",
    Task.VQA: "answer to a question",
    Task.CAP: "caption",
    Task.VG: "box of what the words name",
    Task.REG: "description of what a box holds",
    Task.SS: "mask of a class",
    Task.CC: "description of the changes, two images",
    Task.CD: "mask of the changes, two images",
}


@dataclass(frozen=True)
class Statements:
    """What no file can tell: stated by whoever publishes, left open in the card otherwise.

    Attributes:
        name: Title of the card, and how the examples call the model; a hub id or a folder.
        license: Identifier of the licence, as the hub spells it, e.g. `apache-2.0`.
        base_models: Hub ids of the models it was trained from.
        datasets: Hub ids of datasets it was trained on.

    Raises:
        ValueError: A licence or an id that the hub would refuse.
    """

    name: str
    license: str | None = None
    base_models: Sequence[str] = field(default=())
    datasets: Sequence[str] = field(default=())

    def __post_init__(self) -> None:
        if self.license is not None and not _LICENSE.fullmatch(self.license):
            raise ValueError(f"a licence is spelt like apache-2.0, cc-by-4.0 or other; got {self.license!r}")
        for hub_id in (*self.base_models, *self.datasets):
            if not _HUB_ID.fullmatch(hub_id):
                raise ValueError(f"a base model or dataset is named owner/name as on the hub; got {hub_id!r}")


def render(facts: Facts, scores: Sequence[Score], statements: Statements) -> str:
    """The text of `README.md`."""
    sections = [
        f"# {statements.name}\n\nA checkpoint of RSUniVLM (Liu and Lian, 2024; the package `rsunivlm` is an "
        "independent implementation). It answers questions about one aerial or satellite image, or about two "
        "images of one place, in text; boxes and masks are text, too, that a codec reads back.",
        _table(("", ""), _architecture(facts)),
        "## Tasks\n\n" + _tasks(facts),
        "## Use\n\n" + _use(statements.name),
        "## Training\n\n" + _training(facts, statements),
        "## Scores\n\n" + _scores(scores),
        "## Limits\n\n" + _limits(facts, scores),
        "## Licence\n\n" + _licence(statements),
        f"*Written by `rsunivlm card` {__version__} from the files of this checkpoint.*",
    ]
    return f"---\n{_front_matter(scores, statements)}\n---\n\n" + "\n\n".join(sections) + "\n"


def _front_matter(scores: Sequence[Score], statements: Statements) -> str:
    scored = {score.task for score in scores}
    data = ModelCardData(
        license=statements.license,
        library_name="transformers",
        pipeline_tag="image-text-to-text",
        tags=["rsunivlm", "remote-sensing", *(tag for task, tag in _TAGS.items() if task in scored)],
        base_model=list(statements.base_models) or None,
        datasets=list(statements.datasets) or None,
    )
    return str(data.to_yaml())


def _architecture(facts: Facts) -> list[tuple[str, str]]:
    vision, text = facts.config.vision_config, facts.config.text_config
    newline = ", one of them a learned end mark" if facts.config.image_newline else ""
    head = "tied to the embedding" if facts.config.tie_word_embeddings else "a matrix of its own"
    return [
        (
            "vision tower",
            f"`{vision.timm_model}` (timm), {vision.image_size} x {vision.image_size} px, "
            f"{facts.config.num_image_tokens} tokens an image{newline}",
        ),
        (
            "language model",
            f"Qwen2, {text.num_hidden_layers} layers, width {text.hidden_size}, {text.vocab_size:,} tokens, "
            f"output {head}",
        ),
        ("feed-forward networks", facts.experts),
        ("parameters", f"{facts.counts.stored:,} stored, {facts.counts.active:,} active per token"),
        (
            "weights",
            f"safetensors, {', '.join(facts.weights.dtypes)}, {facts.weights.num_bytes / 1e6:,.1f} MB",
        ),
        (
            "boxes",
            f"`[x1, y1, x2, y2]`, 0 to {facts.boxes.range} across the image, {facts.boxes.decimals} decimals",
        ),
        (
            "masks",
            f"{facts.masks.grid} x {facts.masks.grid} cells, dialect `{facts.masks.dialect}`, background "
            f"`{facts.masks.background}`, read back by rule `{facts.masks.decode_rule}`",
        ),
        ("positions", f"{text.max_position_embeddings:,} tokens for images, prompt and answer"),
    ]


def _tasks(facts: Facts) -> str:
    granularity = facts.config.task_granularity or {}
    routed = facts.config.num_experts > 1
    rows = [
        (f"`{task.token}`", words, *((_expert(granularity[task.token]),) if routed else ()))
        for task, words in _DESCRIPTIONS.items()
        if task.token in granularity
    ]
    drawn = facts.config.random_experts_seed is not None
    note = "\n\nA control: experts are drawn at random, not by task." if drawn else ""
    intro = "Prompts begin with a task token. The map does not say which tasks were trained.\n\n"
    return intro + _table(("token", "answer", *(("expert",) if routed else ())), rows) + note


def _use(name: str) -> str:
    return f"""\
With the package `rsunivlm` installed (no remote code is needed or run):

```python
from rsunivlm import RSUniVLM

model = RSUniVLM.from_pretrained("{name}")
answer = model.ask("scene.png", "[VG] the leftmost airplane in the image")
answer.text, answer.boxes_px, answer.mask
```

or through transformers, as plain text:

```python
import rsunivlm  # makes the classes known
from transformers import pipeline

ask = pipeline("image-text-to-text", model="{name}")
image, text = "scene.png", "[CAP] What does this image show?"
content = [{{"type": "image", "path": image}}, {{"type": "text", "text": text}}]
ask(text=[{{"role": "user", "content": content}}], return_full_text=False, max_new_tokens=512)
```"""


def _training(facts: Facts, statements: Statements) -> str:
    parts = []
    if statements.base_models:
        parts.append("Trained from " + ", ".join(f"`{name}`" for name in statements.base_models) + ".")
    if statements.datasets:
        parts.append("Datasets: " + ", ".join(f"`{name}`" for name in statements.datasets) + ".")
    training = facts.training
    if not training:
        parts.append(
            "The folder has no `training.json`: how these weights were trained is not recorded here."
        )
        return "\n\n".join(parts)
    recipe = training.get("recipe", {})
    values = [
        ("stage", recipe.get("stage")),
        ("recipe", recipe.get("name")),
        ("finished", training.get("finished")),
        ("steps", training.get("steps")),
        ("records seen", training.get("samples")),
        ("records per step", training.get("global_batch")),
        ("parameters trained", training.get("trained_parameters")),
        ("learning rate", recipe.get("learning_rate")),
        ("precision", recipe.get("precision")),
        ("seed", recipe.get("seed")),
        ("time", f"{training['seconds']:,.0f} s" if "seconds" in training else None),
        ("processes", training.get("processes")),
        ("device", training.get("device")),
        ("last loss", (training.get("loss") or {}).get("last")),
        ("versions", ", ".join(f"{name} {number}" for name, number in training.get("versions", {}).items())),
    ]
    rows = [(name, _plain(value)) for name, value in values if value not in (None, "")]
    parts.append("The last run, from `training.json`:\n\n" + _table(("", ""), rows))
    data = [
        (name, _plain(taken.get("records", "-")), _plain(taken.get("samples_per_epoch", "-")))
        for name, taken in training.get("data", {}).items()
    ]
    if data:
        parts.append(_table(("data of that run", "records", "drawn per epoch"), data))
    return "\n\n".join(parts)


def _scores(scores: Sequence[Score]) -> str:
    if not scores:
        return "No result file was given to this card."
    header = ("task", "benchmark", "n", "unparsable", "metric", "score", "best baseline", "conditions")
    rows = [
        (
            score.task.token if score.task is not Task.CD else f"{score.task.token}, two images",
            score.benchmark,
            str(score.n),
            str(score.unparsable),
            score.metric,
            _share(score.value)
            + (" [{}, {}]".format(*map(_share, score.interval)) if score.interval else ""),
            f"{_share(score.baseline[1])} ({score.baseline[0]})" if score.baseline else "-",
            score.conditions,
        )
        for score in scores
    ]
    note = (
        "Per cent, with 95 % bootstrap intervals over images where there are some. The result files name the "
        "weights they were measured on by a checksum; it is that of the weights here."
    )
    return f"{_table(header, rows)}\n\n{note}"


def _limits(facts: Facts, scores: Sequence[Score]) -> str:
    size, unit = facts.config.vision_config.image_size, facts.boxes.range * 10**facts.boxes.decimals
    limits = [
        f"Sees every image at {size} x {size} px, whatever its size: what vanishes at that size is not seen. "
        "Larger scenes are to be cut into tiles (`rsunivlm raster` does).",
        f"A box edge has {unit + 1} places across the image; a mask is written as {facts.masks.grid} cells a "
        "side.",
        "Answers can be wrong and are given with the same certainty; whoever acts on them has to check them.",
    ]
    unscored = [task for task in _DESCRIPTIONS if task not in {score.task for score in scores}]
    if unscored:
        named = ", ".join(_DESCRIPTIONS[task] for task in unscored)
        limits.append(f"No score is given here for: {named}.")
    if facts.training.get("finished") is False:
        limits.append("The training run had not finished when these weights were written.")
    return "\n".join(f"- {limit}" for limit in limits)


def _licence(statements: Statements) -> str:
    terms = "The terms of the training data are not recorded in the checkpoint; look them up before use."
    stated = (
        statements.license and f"Licence of the weights, as stated by their publisher: {statements.license}."
    )
    return f"{stated or 'No licence of the weights was stated to this card.'} {terms}"


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def _expert(index: int) -> str:
    return f"{index} ({Granularity(index).name.lower()})" if index in list(Granularity) else str(index)


def _share(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f}"


def _plain(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:.4g}" if isinstance(value, float) else " ".join(str(value).split())
