r"""The one record schema: LLaVA-style JSON Lines, strictly checked where they enter.

A *record* is one conversation about one image or one pair of images. One line of a record file is::

    {"id": "a1", "image": "images/a.png", "task": "vg", "source": "synth",
     "conversations": [{"from": "human", "value": "<image>\n[VG] the red car"},
                       {"from": "gpt", "value": "[10, 20, 30, 40]"}],
     "targets": {"boxes_px": [[51.2, 102.4, 153.6, 204.8]], "image_size": [512, 512]}}

``conversations`` is the text that a model is trained on. ``targets`` is the ground truth in its own units,
kept beside the text so that an evaluation never has to parse its truth back out of a string. A training
record may hold several turns about the same image (then ``targets`` is a list, one entry per turn), but all
of them must need the same granularity: the whole sequence runs through one expert.

Everything that is wrong in a file is found here, once, with the file, the line and the mend in the message;
code behind this module trusts a `Record`. Files are untrusted: paths must be relative and stay below the
image root, also after symbolic links. No torch here: converters and evaluation import this module too.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from types import TracebackType
from typing import Any

import numpy as np

from rsunivlm.tasks import IMAGE_MARK, Task, route, with_images

Target = dict[str, Any]

# Names of the two sides in the LLaVA style (from/value) and in the chat style (role/content).
_SIDES = {"human": "human", "user": "human", "gpt": "gpt", "assistant": "gpt"}
_MARKS = re.compile(rf"\A(?:\s*{re.escape(IMAGE_MARK)})*\s*|\s*(?:{re.escape(IMAGE_MARK)}\s*)*\Z")


@dataclass(frozen=True)
class Turn:
    """One question and its answer.

    Attributes:
        prompt: what the human says, without image marks.
        answer: what the model is to say; never empty.
    """

    prompt: str
    answer: str


@dataclass(frozen=True)
class Record:
    """One checked conversation about one image or one pair.

    Attributes:
        id: unique within its dataset.
        images: one or two POSIX paths relative to the image root, in the order of the image marks.
        turns: at least one; all of one granularity.
        task: the task of the record (of the first turn where turns differ within one granularity).
        source: name of the dataset it was made from, or "".
        targets: ground truth of a single-turn record, or one entry per turn, or None.
    """

    id: str
    images: tuple[str, ...]
    turns: tuple[Turn, ...]
    task: Task
    source: str = ""
    targets: Target | list[Target] | None = None

    @classmethod
    def from_json(cls, obj: Any, where: str = "record") -> Record:
        """Check one parsed JSON object and turn it into a record.

        Args:
            obj: the parsed object; unknown keys are ignored (public LLaVA files carry many).
            where: file and line, as "file.jsonl:12", for messages.

        Raises:
            ValueError: the object is no valid record; names ``where`` and the mend.
        """
        if not isinstance(obj, dict):
            raise ValueError(f"{where}: a record must be a JSON object, got {type(obj).__name__}")
        record_id = obj.get("id")
        if not isinstance(record_id, str | int) or isinstance(record_id, bool) or record_id == "":
            raise ValueError(f"{where}: give the record an 'id' (a string or an integer)")
        where = f"{where} (id {record_id})"
        images = _images(obj.get("image"), where)
        turns = _turns(obj.get("conversations"), len(images), where)
        task = _task(obj.get("task"), turns, len(images), where)
        granularity = obj.get("granularity")
        if granularity is not None and granularity != task.granularity:
            raise ValueError(
                f"{where}: 'granularity' is {granularity!r} but task {task.value!r} needs "
                f"{int(task.granularity)}; correct or remove it"
            )
        source = obj.get("source", "")
        if not isinstance(source, str):
            raise ValueError(f"{where}: 'source' must be a string")
        return cls(
            id=str(record_id),
            images=images,
            turns=turns,
            task=task,
            source=source,
            targets=_targets(obj.get("targets"), len(turns), where),
        )

    def to_json(self) -> dict[str, Any]:
        """Return the LLaVA-style object; the first human value carries the image marks."""
        conversations: list[dict[str, str]] = []
        for index, turn in enumerate(self.turns):
            value = with_images(turn.prompt, len(self.images)) if index == 0 else turn.prompt
            conversations += [{"from": "human", "value": value}, {"from": "gpt", "value": turn.answer}]
        obj: dict[str, Any] = {
            "id": self.id,
            "image": self.images[0] if len(self.images) == 1 else list(self.images),
            "task": self.task.value,
            "conversations": conversations,
        }
        if self.source:
            obj["source"] = self.source
        if self.targets is not None:
            obj["targets"] = self.targets
        return obj


def check_relative(path: Any, where: str) -> str:
    """Return ``path`` if it is a clean relative POSIX path, else raise.

    Raises:
        ValueError: not a string, empty, absolute, with a drive letter, a backslash, or a '..' part.
    """
    if not isinstance(path, str) or not path.strip():
        raise ValueError(f"{where}: a path must be a non-empty string, got {path!r}")
    if "\\" in path or "\0" in path:
        raise ValueError(f"{where}: path {path!r} must use '/' between its parts")
    if path.startswith("/") or PureWindowsPath(path).drive or ".." in PurePosixPath(path).parts:
        raise ValueError(f"{where}: path {path!r} must be relative to the image root and must not use '..'")
    return path


def resolve_image(root: str | Path, relative: str) -> Path:
    """Return the file that ``relative`` names below ``root``; symbolic links may not lead out of it.

    Whether the file exists and is an image is checked when it is opened.

    Raises:
        ValueError: the path is not relative, or leads outside ``root``.
    """
    base = Path(root).resolve()
    path = (base / check_relative(relative, str(root))).resolve()
    if not path.is_relative_to(base):
        raise ValueError(
            f"{relative!r} leads outside the image root {base} to {path}; use a root that holds both"
        )
    return path


def read_records(path: str | Path) -> Iterator[Record]:
    """Yield the records of a ``.jsonl`` file (streamed) or a ``.json`` list (read whole) in file order.

    Raises:
        ValueError: the file is missing, not JSON, or holds a bad record; names file, line and mend.
    """
    path = Path(path)
    if path.suffix == ".json":
        if not path.is_file():
            raise ValueError(f"record file {path} does not exist")
        items = _parse(path.read_bytes(), str(path))
        if not isinstance(items, list):
            raise ValueError(f"{path}: a .json record file must hold a list of records")
        for index, item in enumerate(items):
            yield Record.from_json(item, f"{path}[{index}]")
    else:
        yield from RecordFile(path)


class RecordFile:
    """Random access to a ``.jsonl`` file by byte offsets; 16 bytes per record are held, not the records.

    A line is parsed and checked when it is asked for; `validate` checks all. Blank lines are skipped. No
    file handle is kept, so that the object can be sent to loader workers however they are started.
    """

    def __init__(self, path: str | Path) -> None:
        """Index ``path`` in one pass.

        Raises:
            ValueError: the file does not exist or is not a ``.jsonl`` file.
        """
        self.path = Path(path)
        if self.path.suffix != ".jsonl":
            raise ValueError(
                f"{self.path}: random access needs a .jsonl file; "
                "convert it with write_records(new_path, read_records(old_path))"
            )
        if not self.path.is_file():
            raise ValueError(f"record file {self.path} does not exist")
        offsets: list[int] = []
        numbers: list[int] = []
        position = 0
        with self.path.open("rb") as file:
            for number, line in enumerate(file, start=1):
                if line.strip():
                    offsets.append(position)
                    numbers.append(number)
                position += len(line)
        self._offsets = np.array(offsets, dtype=np.int64)
        self._line_numbers = np.array(numbers, dtype=np.int64)

    def __len__(self) -> int:
        """Number of records (non-blank lines)."""
        return len(self._offsets)

    def __getitem__(self, index: int) -> Record:
        """Return record ``index`` (negative counts from the end).

        Raises:
            IndexError: there is no such record.
            ValueError: the line is not a valid record; names file, line and mend.
        """
        offset = int(self._offsets[index])
        with self.path.open("rb") as file:
            file.seek(offset)
            line = file.readline()
        return self._record(line, int(self._line_numbers[index]))

    def __iter__(self) -> Iterator[Record]:
        """Yield all records in file order, reading the file once."""
        with self.path.open("rb") as file:
            for number, line in enumerate(file, start=1):
                if line.strip():
                    yield self._record(line, number)

    def validate(self) -> None:
        """Check every record of the file.

        Raises:
            ValueError: the first bad record, with file, line and mend.
        """
        for _ in self:
            pass

    def _record(self, line: bytes, number: int) -> Record:
        where = f"{self.path}:{number}"
        return Record.from_json(_parse(line, where), where)


class RecordWriter:
    """Write records to a ``.jsonl`` file that appears only when the ``with`` block ends without an error."""

    def __init__(self, path: str | Path) -> None:
        """Prepare to write ``path``; nothing is created before the block is entered."""
        self.path = Path(path)
        self.count = 0
        # Same folder, so that the final rename stays on one file system and is atomic.
        self._partial = self.path.with_name(f".{self.path.name}.{os.getpid()}.partial")

    def __enter__(self) -> RecordWriter:
        """Create the folder and the partial file."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._file = self._partial.open("w", encoding="utf-8", newline="\n")
        return self

    def write(self, record: Record) -> None:
        """Append one record."""
        self._file.write(json.dumps(record.to_json(), ensure_ascii=False) + "\n")
        self.count += 1

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Publish the file, or remove the partial one after an error."""
        self._file.close()
        if kind is None:
            os.replace(self._partial, self.path)
        else:
            self._partial.unlink()


def write_records(path: str | Path, records: Iterable[Record]) -> int:
    """Write a ``.jsonl`` file atomically and return the number of records."""
    with RecordWriter(path) as writer:
        for record in records:
            writer.write(record)
    return writer.count


def _parse(data: bytes, where: str) -> Any:
    try:
        return json.loads(data)
    except (json.JSONDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"{where}: not valid JSON ({error}); the file may be cut short") from error


def _images(value: Any, where: str) -> tuple[str, ...]:
    paths = [value] if isinstance(value, str) else value
    if not isinstance(paths, list) or len(paths) not in (1, 2):
        raise ValueError(f"{where}: 'image' must be a path, or a list of one or two paths, got {value!r}")
    return tuple(check_relative(path, where) for path in paths)


def _turns(value: Any, num_images: int, where: str) -> tuple[Turn, ...]:
    if not isinstance(value, list) or not value or len(value) % 2:
        raise ValueError(f"{where}: 'conversations' must be a list of human and gpt entries in pairs")
    texts = [_text(entry, ("human", "gpt")[index % 2], where) for index, entry in enumerate(value)]
    marks = texts[0].count(IMAGE_MARK)
    if marks != num_images:
        raise ValueError(
            f"{where}: {marks} {IMAGE_MARK} mark(s) in the first human entry but {num_images} image(s); "
            "give every image one mark there"
        )
    texts[0] = _MARKS.sub("", texts[0])
    for text in texts:
        if IMAGE_MARK in text:
            raise ValueError(
                f"{where}: {IMAGE_MARK} may only stand at the start or the end of the first human entry"
            )
        if not text.strip():
            raise ValueError(f"{where}: empty question or answer; remove the turn or fill it in")
    return tuple(Turn(prompt, answer) for prompt, answer in zip(texts[::2], texts[1::2], strict=True))


def _text(entry: Any, side: str, where: str) -> str:
    if not isinstance(entry, Mapping):
        raise ValueError(f"{where}: every entry of 'conversations' must be an object")
    name = entry.get("from", entry.get("role"))
    if not isinstance(name, str) or _SIDES.get(name) != side:
        raise ValueError(
            f"{where}: entries must alternate human (user), gpt (assistant), from human; "
            f"found {name!r} where {side!r} belongs"
        )
    text = entry.get("value", entry.get("content"))
    if not isinstance(text, str):
        raise ValueError(f"{where}: every entry needs its text under 'value' (or 'content')")
    return text


def _task(value: Any, turns: tuple[Turn, ...], num_images: int, where: str) -> Task:
    if value is None:
        task = route(turns[0].prompt, num_images=num_images).task
    elif value in (tasks := [task.value for task in Task]):
        task = Task(value)
    else:
        raise ValueError(f"{where}: unknown task {value!r}; use one of {', '.join(tasks)}")
    if task.num_images > num_images:
        raise ValueError(f"{where}: task {task.value!r} compares two images but the record has one")
    for turn in turns:
        found = route(turn.prompt, num_images=num_images)
        # Only a token says for certain what a turn is; plain words never condemn a record.
        if found.source in ("token", "alias") and found.granularity != task.granularity:
            raise ValueError(
                f"{where}: turn {turn.prompt[:40]!r} needs the {found.granularity.name.lower()} expert but "
                f"the record is {task.value!r} ({task.granularity.name.lower()}); give it a record of its own"
            )
    return task


def _targets(value: Any, num_turns: int, where: str) -> Target | list[Target] | None:
    if value is None:
        return None
    entries = value if isinstance(value, list) else [value]
    if len(entries) != num_turns or not all(isinstance(entry, dict) for entry in entries):
        raise ValueError(f"{where}: 'targets' must be one object per turn ({num_turns} here)")
    for entry in entries:
        if "mask" in entry:
            check_relative(entry["mask"], where)
    return value
