"""Every foreign layout imports, and its logits are those of stock SigLIP, a projector and stock Qwen2."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parent))  # for `foreign_checkpoints`

import foreign_checkpoints as foreign
from foreign_checkpoints import BLOCKS, TEXT, VISION, Parts, random_parts, write

from rsunivlm.inference.predictor import RSUniVLM
from rsunivlm.models.checkpoints.convert import Options, convert
from rsunivlm.models.checkpoints.report import Report
from rsunivlm.models.rsunivlm.modeling_rsunivlm import RSUniVLMForConditionalGeneration
from rsunivlm.models.rsunivlm.upcycling import upcycle

ROWS = 720  # more than the tiny tokenizer's tokens, as in every published file
OFFICIAL = {"model_type": "llava_qwen_gmoe", "mm_patch_merge_type": "spatial_unpad"} | TEXT
OFFICIAL |= {"vision_config": {"num_attention_heads": 4, "image_size": 30}}
ONEVISION = {
    "model_type": "llava_onevision",
    "vision_config": VISION,
    "text_config": TEXT,
    "vision_feature_layer": -1,
}


@dataclasses.dataclass
class Imported:
    """A converted checkpoint, loaded."""

    report: Report
    folder: Path

    def model(self) -> RSUniVLMForConditionalGeneration:
        return RSUniVLMForConditionalGeneration.from_pretrained(self.folder, dtype=torch.float32).eval()


@pytest.fixture
def imported(tmp_path: Path, tiny_tokenizer_dir: Path) -> Callable[..., Imported]:
    def run(*sources: Path, to: str = "ours", **options) -> Imported:
        options = Options(**{"tokenizer": tiny_tokenizer_dir} | options)
        return Imported(convert(sources, tmp_path / to, options), tmp_path / to)

    return run


@torch.no_grad()
def logits_differ(
    model: RSUniVLMForConditionalGeneration, parts: Parts, *, expert: int | None = None, **reference
) -> float:
    """Largest difference from the reference on two images within text."""
    torch.manual_seed(1)
    pixels, image = torch.randn(2, 3, 30, 30), model.config.image_token_id
    text = torch.tensor([[7, image, 8, 9, image, 600, 11]])
    counts = torch.where(text[0] == image, model.config.num_image_tokens, 1)
    ours = model(
        input_ids=text.repeat_interleave(counts, dim=1),
        pixel_values=pixels,
        expert_ids=None if expert is None else torch.tensor([expert]),
    ).logits
    reference.setdefault("blocks", BLOCKS)
    theirs = foreign.reference_logits(parts, text, pixels, image_token_id=image, expert=expert, **reference)
    assert theirs.std() > 0.5  # a difference would show
    return float((ours[..., :ROWS] - theirs).abs().max())


@pytest.mark.parametrize("newline", [True, False])
def test_official_gmoe(newline: bool, imported: Callable[..., Imported], tmp_path: Path) -> None:
    parts = random_parts(ROWS, experts=3)
    result = imported(write(tmp_path / "src", foreign.official(parts, newline=newline), OFFICIAL, shards=3))
    assert result.report.layout == "official RSUniVLM (G-MoE)"
    assert (result.report.unused, result.report.fresh) == ({}, [])
    assert (result.report.image_newline, result.report.num_experts) == (newline, 3)
    model = result.model()
    for expert in range(3):
        assert logits_differ(model, parts, expert=expert, newline=newline) < 1e-4


def test_official_dense_from_bin_shards(imported: Callable[..., Imported], tmp_path: Path) -> None:
    parts = random_parts(ROWS)
    tensors = foreign.official(parts) | {"lm_head.weight": parts.text["embed_tokens.weight"]}
    tensors["model.layers.0.self_attn.rotary_emb.inv_freq"] = torch.ones(8)
    names = sorted(tensors)
    halves = {
        "pytorch_model-00001-of-00002.bin": names[::2],
        "pytorch_model-00002-of-00002.bin": names[1::2],
    }
    source = tmp_path / "src"
    source.mkdir()
    (source / "config.json").write_text(json.dumps(OFFICIAL))
    for file, here in halves.items():
        torch.save({name: tensors[name] for name in here}, source / file)
    weight_map = {name: file for file, here in halves.items() for name in here}
    (source / "pytorch_model.bin.index.json").write_text(json.dumps({"weight_map": weight_map}))
    result = imported(source)
    assert result.report.layout == "official LLaVA (dense)"
    assert set(result.report.unused) == {"lm_head.weight", "model.layers.0.self_attn.rotary_emb.inv_freq"}
    assert result.report.tied
    assert logits_differ(result.model(), parts, newline=True) < 1e-4


@pytest.mark.parametrize("names", ["legacy", "transformers 5", "modules"])
def test_huggingface_onevision(names: str, imported: Callable[..., Imported], tmp_path: Path) -> None:
    parts = random_parts(ROWS)
    result = imported(write(tmp_path / "src", foreign.onevision(parts, names), ONEVISION))
    assert result.report.layout == "Hugging Face LLaVA"
    assert (result.report.unused, result.report.fresh) == ({}, [])
    assert logits_differ(result.model(), parts, newline=True) < 1e-4


def test_huggingface_onevision_as_transformers_saves_it(
    imported: Callable[..., Imported], tmp_path: Path
) -> None:
    from transformers import LlavaOnevisionConfig, LlavaOnevisionForConditionalGeneration

    parts = random_parts(ROWS)
    fields = ONEVISION | {
        "vision_config": VISION | {"model_type": "siglip_vision_model", "vision_use_head": False},
        "text_config": TEXT | {"model_type": "qwen2", "vocab_size": ROWS},
    }
    stock = LlavaOnevisionForConditionalGeneration(LlavaOnevisionConfig(**fields))
    write(tmp_path / "legacy", foreign.onevision(parts), {})
    stock = stock.from_pretrained(tmp_path / "legacy", config=stock.config)
    stock.save_pretrained(tmp_path / "src")
    assert logits_differ(imported(tmp_path / "src").model(), parts, newline=True) < 1e-4


@pytest.mark.parametrize("names", ["huggingface", "timm"])
def test_raw_parts(names: str, imported: Callable[..., Imported], tmp_path: Path) -> None:
    parts = random_parts(ROWS)
    vision = {f"vision_model.{name}": tensor for name, tensor in parts.vision.items()}
    vision |= {"text_model.head.bias": torch.ones(2), "logit_scale": torch.ones(1)}
    fields = {"model_type": "siglip", "vision_config": VISION}
    if names == "timm":
        vision = foreign.siglip_to_timm(parts.vision, BLOCKS)
        vision["attn_pool.latent"] = parts.vision["head.probe"]
        fields = {"architecture": "vit_tiny", "vision_config": {"num_attention_heads": 4, "image_size": 30}}
    both = tmp_path / "both"
    write(both / "siglip", vision, fields)
    write(both / "qwen2", {f"model.{name}": tensor for name, tensor in parts.text.items()}, TEXT)
    result = imported(both, image_newline=True, seed=5)
    ours = "model.multi_modal_projector.linear"
    projector = [f"{ours}_1.weight", f"{ours}_1.bias", f"{ours}_2.weight", f"{ours}_2.bias"]
    assert set(result.report.fresh) == {*projector, "model.image_newline"}
    assert all("tower" in reason or "SigLIP" in reason for reason in result.report.unused.values())
    model = result.model()
    begun = {name: tensor for name, tensor in model.state_dict().items() if name in result.report.fresh}
    assert begun[projector[0]].std() == pytest.approx(foreign.C**-0.5, rel=0.1)
    assert not begun[projector[1]].any()
    parts.projector = dict(zip(parts.projector, (begun[name] for name in projector), strict=True))
    parts.newline = begun["model.image_newline"]
    assert logits_differ(model, parts, newline=True, blocks=BLOCKS - 1) < 1e-4
    again = imported(both / "qwen2", both / "siglip", to="again", image_newline=True, seed=5)
    one, other = (folder / "model.safetensors" for folder in (result.folder, again.folder))
    assert one.read_bytes() == other.read_bytes()


def test_the_converted_checkpoint_answers(imported: Callable[..., Imported], tmp_path: Path) -> None:
    parts = random_parts(ROWS, experts=3)
    result = imported(write(tmp_path / "src", foreign.official(parts), OFFICIAL))
    model = RSUniVLM.from_pretrained(result.folder)
    for task, granularity in (("[VQA]", "IMAGE"), ("[VG]", "REGION"), ("[SEG]", "PIXEL")):
        answer = model.ask(Image.new("RGB", (40, 30)), f"{task} the ship", max_new_tokens=8)
        assert answer.route.granularity.name == granularity
    assert model.processor.num_image_tokens == 5
    config = model.model.config
    assert (config.box_codec["range"], config.mask_codec["grid"]) == (100, 24)
    assert config.task_granularity["[SEG]"] == 2
    assert json.loads((result.folder / "conversion.json").read_text()) == json.loads(
        json.dumps(result.report.to_json())
    )


def test_upcycling_gives_the_weights_of_upcycle(imported: Callable[..., Imported], tmp_path: Path) -> None:
    source = write(tmp_path / "src", foreign.onevision(random_parts(ROWS)), ONEVISION)
    expected = upcycle(imported(source, to="dense").model()).state_dict()
    made = imported(source, upcycle=True).model()
    assert made.config.num_experts == 3
    assert all(torch.equal(tensor, expected[name]) for name, tensor in made.state_dict().items())


def test_a_head_that_differs_stays_a_head(imported: Callable[..., Imported], tmp_path: Path) -> None:
    parts = random_parts(ROWS)
    head = torch.randn(ROWS, foreign.D)
    result = imported(write(tmp_path / "src", foreign.official(parts) | {"lm_head.weight": head}, OFFICIAL))
    assert not result.report.tied
    assert logits_differ(result.model(), parts, newline=True, head=head) < 1e-4


def test_types_stay_as_stored_or_become_what_is_asked(
    imported: Callable[..., Imported], tmp_path: Path
) -> None:
    tensors = foreign.official(random_parts(ROWS, dtype=torch.bfloat16))
    tensors["model.norm.weight"] = tensors["model.norm.weight"].float()
    source = write(tmp_path / "src", tensors, OFFICIAL)
    stored = load_file(imported(source).folder / "model.safetensors")
    assert stored["model.language_model.norm.weight"].dtype == torch.float32
    assert stored["model.vision_tower.backbone.pos_embed"].dtype == torch.bfloat16
    assert torch.equal(
        stored["model.language_model.embed_tokens.weight"], tensors["model.embed_tokens.weight"]
    )
    half = load_file(imported(source, to="half", dtype="fp16").folder / "model.safetensors")
    assert {tensor.dtype for tensor in half.values()} == {torch.float16}
    assert torch.equal(half["model.language_model.norm.weight"], tensors["model.norm.weight"].half())


def test_shards_hold_what_one_file_holds(imported: Callable[..., Imported], tmp_path: Path) -> None:
    source = write(tmp_path / "src", foreign.official(random_parts(ROWS, experts=3)), OFFICIAL)
    whole = load_file(imported(source).folder / "model.safetensors")
    result = imported(source, to="shards", max_shard_size="200KB")
    assert len(result.report.files) > 3
    index = json.loads((result.folder / "model.safetensors.index.json").read_text())
    assert set(index["weight_map"].values()) == set(result.report.files)
    shards: dict[str, Tensor] = {}
    for file in result.report.files:
        shards |= load_file(result.folder / file)
    assert set(shards) == set(whole)
    assert all(torch.equal(shards[name], tensor) for name, tensor in whole.items())


def test_a_row_is_added_only_where_the_image_token_needs_one(
    imported: Callable[..., Imported], tmp_path: Path, tiny_tokenizer_dir: Path
) -> None:
    size = foreign.write_vocabulary(tmp_path / "src", tiny_tokenizer_dir)
    for rows, new in ((size, 1), (size + 1, 0), (size + 300, 0)):
        parts = random_parts(rows)
        source = write(tmp_path / "src", foreign.official(parts), OFFICIAL)
        result = imported(source, to=f"ours{rows}", tokenizer=None)
        vocabulary = result.report.vocabulary
        assert (vocabulary.rows, vocabulary.new_rows, vocabulary.tokens) == (rows, new, size + 1)
        assert (vocabulary.image_token_id, vocabulary.image_token_added) == (size, True)
        stored = load_file(result.folder / "model.safetensors")["model.language_model.embed_tokens.weight"]
        assert torch.equal(stored[:rows], parts.text["embed_tokens.weight"])
        assert len(stored) == rows + new
        assert not stored[rows:].any()
        model = RSUniVLM.from_pretrained(result.folder)
        assert model.processor.tokenizer.decode([size]) == "<image>"
        assert model.ask(Image.new("RGB", (40, 30)), "[VQA] 17 ships?", max_new_tokens=4)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.pop("model.layers.1.mlp.up_proj.weight"), "lacks 1 tensors: model.layers.1.mlp.up_proj"),
        (lambda t: t.update({"model.adapter.weight": torch.ones(2)}), "no place for: model.adapter.weight"),
        (lambda t: t.update({"model.norm.weight": torch.ones(2)}), r"wrong shape: model.norm.weight \(2,\)"),
        (lambda t: t.update({"model.layers.7.x.weight": torch.ones(2)}), "lacks model.layers.2"),
        (lambda t: [t.clear(), t.update({"a.weight": torch.ones(2)})], "of no known layout"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(
    change: Callable[[dict[str, Tensor]], object],
    message: str,
    imported: Callable[..., Imported],
    tmp_path: Path,
) -> None:
    tensors = foreign.official(random_parts(ROWS))
    change(tensors)
    with pytest.raises(ValueError, match=message):
        imported(write(tmp_path / "src", tensors, OFFICIAL))
    assert [path.name for path in tmp_path.iterdir()] == ["src"]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"hidden_size": 32}, "says hidden_size 32, the tensors say 64"),
        ({"num_attention_heads": 7}, "must tell num_attention_heads"),
        ({"num_attention_heads": 2}, "do not fit projections"),
        ({"num_key_value_heads": "2"}, "do not fit projections"),
        ({"rms_norm_eps": "small"}, "rms_norm_eps"),
        ({"rope_theta": [1]}, "rope_theta must be a number"),
        ({"hidden_act": "gelu"}, "hidden_act 'gelu' is not Qwen2's"),
        ({"rope_scaling": {"type": "yarn"}}, "rope_scaling is not supported"),
        ({"mm_projector_type": "linear"}, "mm_projector_type 'linear'"),
        ({"vision_config": {}}, "does not tell the attention heads of a tower of width 48"),
        ({"vision_config": {"num_attention_heads": 4, "image_size": 64}}, "image_size 64"),
        ({"tie_word_embeddings": False}, "lacks lm_head.weight"),
    ],
)
def test_a_configuration_that_contradicts_is_refused(
    fields: dict, message: str, imported: Callable[..., Imported], tmp_path: Path
) -> None:
    source = write(tmp_path / "src", foreign.official(random_parts(ROWS)), OFFICIAL | fields)
    with pytest.raises(ValueError, match=message):
        imported(source)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"model_type": "llava_next"}, "model_type 'llava_next' is not supported"),
        ({"model_type": "llava"}, "vision_feature_layer|drops the first image token"),
        ({"vision_feature_layer": 4}, "is no block of a tower with 3"),
        ({"vision_feature_layer": [-2, -1]}, "is no block of a tower with 3"),
        ({"projector_hidden_act": "relu"}, "projector_hidden_act 'relu'"),
        ({"text_config": None}, "must hold text_config"),
        ({"vision_config": VISION | {"hidden_size": 64}}, "says hidden_size 64 of the tower"),
        ({"vision_config": VISION | {"hidden_act": "quick_gelu"}}, "is no SigLIP tower"),
    ],
)
def test_a_huggingface_configuration_that_does_not_fit_is_refused(
    fields: dict, message: str, imported: Callable[..., Imported], tmp_path: Path
) -> None:
    source = write(tmp_path / "src", foreign.onevision(random_parts(ROWS)), ONEVISION | fields)
    with pytest.raises(ValueError, match=message):
        imported(source)


def test_the_features_are_those_of_the_layer_that_is_named(
    imported: Callable[..., Imported], tmp_path: Path
) -> None:
    parts = random_parts(ROWS)
    source = write(tmp_path / "src", foreign.onevision(parts), ONEVISION | {"vision_feature_layer": -2})
    result = imported(source)
    assert set(result.report.unused.values()) == {"block of the tower behind the one that is read"}
    assert logits_differ(result.model(), parts, newline=True, blocks=BLOCKS - 1) < 1e-4


def test_a_dry_run_and_a_full_target_write_nothing(tmp_path: Path, tiny_tokenizer_dir: Path) -> None:
    source = write(tmp_path / "src", foreign.official(random_parts(ROWS)), OFFICIAL)
    options = Options(tokenizer=tiny_tokenizer_dir)
    report = convert([source], tmp_path / "ours", options, dry_run=True)
    assert report.parameters > 0
    assert [path.name for path in tmp_path.iterdir()] == ["src"]
    with pytest.raises(ValueError, match="exists; remove it"):
        convert([source], source, options)
    with pytest.raises(ValueError, match="name the tokenizer's folder with --tokenizer"):
        convert([source], tmp_path / "ours")
    write(tmp_path / "few", foreign.official(random_parts(300)), OFFICIAL)
    with pytest.raises(ValueError, match="no row"):
        convert([tmp_path / "few"], tmp_path / "ours", options)


def test_a_failing_disk_leaves_nothing(
    imported: Callable[..., Imported], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from rsunivlm.models.checkpoints.writing import ShardWriter

    source = write(tmp_path / "src", foreign.official(random_parts(ROWS)), OFFICIAL)

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    (tmp_path / ".ours.partial").mkdir()  # what a killed conversion leaves
    monkeypatch.setattr(ShardWriter, "write", fail)
    with pytest.raises(ValueError, match="No space left"):
        imported(source)
    assert [path.name for path in tmp_path.iterdir()] == ["src"]


def test_half_of_the_raw_parts_says_what_lacks(imported: Callable[..., Imported], tmp_path: Path) -> None:
    parts = random_parts(ROWS)
    save_file({name: t.contiguous() for name, t in parts.vision.items()}, tmp_path / "siglip.safetensors")
    with pytest.raises(ValueError, match="holds only a vision tower; give the language model too"):
        imported(tmp_path / "siglip.safetensors")


def test_our_own_checkpoint_needs_no_import(tiny_checkpoint: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="of this project already"):
        convert([tiny_checkpoint], tmp_path / "ours")
