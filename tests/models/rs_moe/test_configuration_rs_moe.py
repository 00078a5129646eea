"""What a configuration refuses, and the file of prompts."""

from __future__ import annotations

from typing import Any

import pytest

from rsunivlm.models.rs_moe.configuration_rs_moe import RSMoEConfig
from rsunivlm.models.rs_moe.prompts import DEFAULT, load_wording


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"prompts": {"a": "x"}, "experts": ["a", "b"]}, r"2 experts \(a, b\) but 1 prompts \(a\)"),
        ({"experts": ["theme", "colours"]}, r"2 experts \(theme, colours\) but 1 prompts \(theme\)"),
        ({"prompts": {"two words": "x"}}, "a word like 'theme', not 'two words'"),
        ({"experts_as": "copies"}, "vqa=stage1 needs the language model of stage I"),
        ({"experts_as": "copies", "vqa": "best", "aggregation": "fuse"}, "aggregation=fuse needs"),
        ({"experts_as": "copies", "vqa": "best", "router": "generate"}, "router=generate needs"),
        ({"fuse_prompt": "merge"}, r"'fuse' must be a sentence with the slots \['drafts', 'instruction'\]"),
        ({"text_config": {"model_type": "gpt9"}}, "no language model of type 'gpt9'"),
        ({"qformer_config": {"encoder_hidden_size": 7}}, "features of 7 channels .* tower gives 1152"),
    ],
)
def test_what_does_not_fit_is_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        RSMoEConfig(**fields)


def test_experts_keep_their_order_and_take_known_prompts() -> None:
    config = RSMoEConfig(experts=["relations", "theme"])
    assert list(config.subtasks) == ["relations", "theme"]
    again = RSMoEConfig.from_dict(config.to_dict() | {"prompts": dict(sorted(config.prompts.items()))})
    assert list(again.subtasks) == ["relations", "theme"]
    assert again.subtasks["theme"] == load_wording().experts["theme"]
    assert config.num_image_tokens == 32
    assert not RSMoEConfig(experts=[]).has_soft_tokens


def test_prompts_in_a_file_of_the_user(tmp_path) -> None:
    text = DEFAULT.read_text(encoding="utf-8")
    changed = tmp_path / "prompts.yaml"
    changed.write_text(text.replace("theme:", "scene:"), encoding="utf-8")
    assert list(load_wording(changed).experts) == ["scene", "objects", "relations"]
    for broken, message in (
        (text.replace("{drafts}", "drafts"), "'fuse' must be a sentence with the slots"),
        (text.replace("fuse:", "melt:"), "has the keys experts, generate, fuse"),
        ("experts: [", "not valid YAML"),
        ("experts: 3\ngenerate: x\nfuse: y", "'experts' must map the name"),
    ):
        changed.write_text(broken, encoding="utf-8")
        with pytest.raises(ValueError, match=message):
            load_wording(changed)
    with pytest.raises(ValueError, match="no such prompt file"):
        load_wording(tmp_path / "absent.yaml")
