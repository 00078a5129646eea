"""The words in which a question is put to a model.

Records hold prompts as this project's models know them, with task tokens. Two things may have to change:

- a box in a prompt has to stand on the scale that the model speaks (`box_respelled`);
- a model that does not know the task tokens has to be asked in words (`PromptStyle`). The words are a table
  with one line per task: `plain_prompts.yaml`, or a copy of it with other words that is named on the command
  line.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from string import Formatter

from rsunivlm.codecs import BoxCodec, MaskCodec
from rsunivlm.data.records import Record
from rsunivlm.tasks import Task, parse_task, with_token
from rsunivlm.yaml_files import read_yaml

TOKEN, PLAIN = "token", "plain"
SLOTS = ("question", "boxes", "label", "background", "grid")
_PLAIN_TABLE = Path(__file__).with_name("plain_prompts.yaml")
_BOX = re.compile(r"\[[\d\s.,]+\]")


def box_respelled(record: Record, codec: BoxCodec) -> str:
    """The prompt of a record, a box that it asks about written by `codec`; decimals where it is too small."""
    prompt = record.turns[0].prompt
    targets = record.targets
    if record.task is not Task.REG or not isinstance(targets, dict):
        return prompt
    if "box_px" not in targets or "image_size" not in targets:
        return prompt
    width, height = targets["image_size"]
    box = [targets["box_px"]]
    text = codec.encode(box, (width, height)) or replace(codec, decimals=6).encode(box, (width, height))
    return _BOX.sub(text, prompt, count=1)


@dataclass(frozen=True)
class PromptStyle:
    """How questions are worded.

    Attributes:
        name: of the style, or of its file.
        templates: per task, text with the slots of `SLOTS`: ``{question}`` (the prompt without its task
            token), ``{boxes}`` (how boxes are written), ``{label}`` (class of a mask), ``{background}``,
            ``{grid}`` (rows and columns of a mask); empty for prompts as they are, with their tokens.
    """

    name: str = TOKEN
    templates: Mapping[Task, str] = field(default_factory=dict)

    @classmethod
    def named(cls, name: str) -> PromptStyle:
        """The style ``"token"`` or ``"plain"``, or that of a YAML file.

        Tasks that the file does not have are asked as in ``plain``.

        Raises:
            ValueError: there is no such style or file, or the file has unknown tasks or slots.
        """
        if name == TOKEN:
            return cls()
        plain = _read_table(_PLAIN_TABLE)
        if name == PLAIN:
            return cls(PLAIN, plain)
        path = Path(name)
        if path.suffix not in (".yaml", ".yml") or not path.is_file():
            raise ValueError(
                f"--prompt-style {name}: no such file; use {PLAIN}, {TOKEN} or a .yaml file like "
                f"{_PLAIN_TABLE}"
            )
        return cls(path.name, {**plain, **_read_table(path)})

    def prompt(
        self, given: str, task: Task, labels: Sequence[str] | None, boxes: str, masks: MaskCodec
    ) -> str:
        """The words for one question.

        Args:
            given: The prompt, with or without a task token.
            task: The task that was found for it.
            labels: Classes of the mask that is asked for.
            boxes: How boxes are written, in words.
            masks: Reads the masks that are asked for.
        """
        with_its_token = with_token(given, task)
        if not self.templates:
            return with_its_token
        question = with_its_token.removeprefix(task.token).strip()
        return self.templates[task].format(
            question=question,
            boxes=boxes,
            label=", ".join(labels or ()),
            background=masks.background,
            grid=masks.grid,
        )

    def describe(self) -> dict[str, str]:
        """Name, and a hash of the words."""
        content = json.dumps({task.value: text for task, text in sorted(self.templates.items())})
        return {"name": self.name, "sha256": hashlib.sha256(content.encode()).hexdigest()[:16]}


def _read_table(path: Path) -> dict[Task, str]:
    content = read_yaml(path, "prompt")
    if not isinstance(content, dict) or not all(isinstance(text, str) for text in content.values()):
        raise ValueError(f"{path}: must give for each task its prompt, as in 'vg: Where is {{question}}?'")
    table = {}
    for name, text in content.items():
        try:
            task = parse_task(str(name))
            slots = {slot for _, slot, _, _ in Formatter().parse(text) if slot is not None}
        except ValueError as error:
            raise ValueError(f"{path}: {name}: {error}") from error
        if unknown := sorted(slots - set(SLOTS)):
            raise ValueError(f"{path}: {name}: unknown slot {unknown}; known: {', '.join(SLOTS)}")
        table[task] = text
    return table
