"""`push_to_hub` sends all that loading again needs; a folder plays the hub."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace

import huggingface_hub
import pytest
import torch
import transformers.utils.hub
from transformers import AutoModelForImageTextToText, AutoProcessor


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that uploads go to."""
    folder = tmp_path / "hub"
    folder.mkdir()

    def create_repo(*_, **__):
        return SimpleNamespace(repo_id="me/tiny")

    def create_commit(*_, operations, token, **__):
        assert token == "secret"
        for operation in operations:
            shutil.copy(operation.path_or_fileobj, folder / operation.path_in_repo)

    for target in (huggingface_hub.HfApi, transformers.utils.hub):  # older versions use functions
        monkeypatch.setattr(target, "create_repo", create_repo, raising=False)
        monkeypatch.setattr(target, "create_commit", create_commit, raising=False)
    card = huggingface_hub.ModelCard("---\nlibrary_name: transformers\n---\n")
    monkeypatch.setattr(transformers.utils.hub, "create_and_tag_model_card", lambda *_, **__: card)
    return folder


def test_what_is_pushed_loads_again(hub: Path, make_tiny_model, tiny_processor) -> None:
    model = make_tiny_model(num_experts=3)
    model.push_to_hub("me/tiny", token="secret")
    tiny_processor.push_to_hub("me/tiny", token="secret")
    assert not [
        file for file in hub.iterdir() if file.suffix not in (".json", ".jinja", ".safetensors", ".md")
    ]
    loaded = AutoModelForImageTextToText.from_pretrained(hub)
    assert all(torch.equal(a, b) for a, b in zip(loaded.parameters(), model.parameters(), strict=True))
    processor = AutoProcessor.from_pretrained(hub)
    assert processor.task_granularity == tiny_processor.task_granularity
    assert processor.chat_template == tiny_processor.chat_template
