"""Foreign models: a batch equals single questions, boxes come back in pixels, bad ones are refused."""

import json
import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from eval import run_benchmark
from eval.models import Dialect, load_answerer
from eval.models.coordinates import SPACES
from rsunivlm.inference.answer import Request

SIZE = (300, 200)
BOX = [30.0, 40.0, 150.0, 160.0]
WRITTEN = {
    "unit100": "[10, 20, 50, 80]",
    "unit1000": "<box>(100,200),(500,800)</box>",
    "unit1": "[0.1, 0.2, 0.5, 0.8]",
    "pixels": "[30, 40, 150, 160]",
}


@pytest.fixture
def load():
    def start(folder, coordinates="unit100", style=None):
        name = f"hf:{folder}"
        return load_answerer(name, "cpu", "float32", Dialect.given(name, [], coordinates, style))

    return start


@pytest.fixture
def says(monkeypatch):
    """Make a model say a text, whatever it is asked; gives the inputs it was called with."""

    def put(answerer, text):
        seen = []
        tokens = answerer._processor.tokenizer.encode(text) + answerer._ends[:1]

        def generate(input_ids, **inputs):
            seen.append({"input_ids": input_ids, **inputs})
            return torch.cat([input_ids, torch.tensor([tokens] * len(input_ids))], dim=1)

        monkeypatch.setattr(answerer._model, "generate", generate)
        return seen

    return put


def picture(width, height, seed=0):
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8))


REQUESTS = [
    Request([picture(300, 200)], "[VG] the red vehicle"),
    Request([picture(64, 64, 1)], "[VQA] is there a ship in the image, near the airplane or elsewhere?"),
    Request([picture(96, 64, 2), picture(96, 64, 3)], "[CCD] What has changed?"),
    Request([picture(90, 60, 4)], "[SEG] the building", labels=["building"]),
]


@pytest.mark.parametrize("family", ["llava", "qwen2_vl"])
def test_a_batch_equals_single_questions(family, load, request):
    answerer = load(request.getfixturevalue(family))
    batch = answerer.answer_batch(REQUESTS, batch_size=3, max_new_tokens=12)
    single = [answerer.answer_batch([one], batch_size=1, max_new_tokens=12)[0] for one in REQUESTS]
    assert [answer.text for answer in batch] == [answer.text for answer in single]
    assert len({answer.text for answer in batch}) > 1
    assert [answer.route.task.value for answer in batch] == ["vg", "vqa", "cc", "ss"]
    assert batch[0].boxes_px.shape[1] == 4
    assert batch[3].mask.shape == (60, 90)
    assert answerer.answer_batch(REQUESTS, batch_size=4, max_new_tokens=12)[1].text == batch[1].text


def test_generation_settings_of_a_checkpoint_are_put_aside_but_its_ends_kept(load, qwen2_vl):
    answerer = load(qwen2_vl)
    settings = answerer._model.generation_config
    assert settings.do_sample is False
    assert settings.repetition_penalty in (None, 1.0)
    assert settings.temperature in (None, 1.0)
    end = answerer._processor.tokenizer.eos_token_id
    assert set(settings.eos_token_id) == {5, 7, end}


@pytest.mark.parametrize("space", list(WRITTEN))
def test_boxes_are_read_in_the_declared_space(space, load, llava, says):
    answerer = load(llava, space)
    says(answerer, WRITTEN[space])
    [answer] = answerer.answer_batch([Request([picture(*SIZE)], "[VG] it")], batch_size=1, max_new_tokens=48)
    assert answer.boxes_px == pytest.approx(np.array([BOX]))
    assert answer.text == WRITTEN[space]
    assert answer.finished


def test_boxes_in_pixels_of_the_input(load, llava, qwen2_vl, says):
    """Qwen2-VL sees 300 x 200 pixels as 308 x 196, the LLaVA here sees all as 32 x 32."""
    asked = Request([picture(*SIZE)], "[VG] it")
    for folder, (width, height) in ((qwen2_vl, (308, 196)), (llava, (32, 32))):
        answerer = load(folder, "pixels_of_input")
        seen = says(answerer, '```json\n[{"bbox_2d": [4, 7, 16, 14], "label": "it"}]\n```')
        [answer] = answerer.answer_batch([asked], batch_size=1, max_new_tokens=48)
        scale = np.array([300 / width, 200 / height] * 2)
        assert answer.boxes_px == pytest.approx(np.array([[4, 7, 16, 14]]) * scale)
        if "image_grid_thw" in seen[0]:
            assert (seen[0]["image_grid_thw"][0] * 14).tolist()[1:] == [height, width]
        else:
            assert tuple(seen[0]["pixel_values"].shape[2:]) == (height, width)


def test_masks_are_read_in_our_notation_and_all_else_is_unreadable(load, llava, says):
    answerer = load(llava)
    says(answerer, "\n".join(["building*12, others*12"] * 24))
    asked = REQUESTS[3]
    [answer] = answerer.answer_batch([asked], batch_size=1, max_new_tokens=48)
    assert answer.labels == ("others", "building")
    assert (answer.mask[:, :45] == 1).all()
    assert (answer.mask[:, 45:] == 0).all()
    says(answerer, "I cannot draw.")
    [answer] = answerer.answer_batch([asked], batch_size=1, max_new_tokens=48)
    assert not answer.report.valid


def test_questions_are_put_in_the_models_chat_format(load, llava, says):
    answerer = load(llava, "unit1000")
    seen = says(answerer, "yes")
    answerer.answer_batch(REQUESTS[:3], batch_size=4, max_new_tokens=8)
    rows = [answerer._processor.tokenizer.decode(row) for row in seen[0]["input_ids"]]
    assert [row.count("<image>") for row in rows] == [4, 4, 8]  # padded on the left, so all end alike
    assert all(row.endswith("<|im_end|>\n<|im_start|>assistant\n") for row in rows)
    assert "bounding box of: the red vehicle as [x1, y1, x2, y2], with coordinates from 0 to 1000" in rows[0]
    assert "[VG]" not in "".join(rows)
    token = load(llava, "unit1000", "token")
    seen = says(token, "yes")
    token.answer_batch(REQUESTS[:1], batch_size=4, max_new_tokens=8)
    assert "[VG] the red vehicle<|im_end|>" in token._processor.tokenizer.decode(seen[0]["input_ids"][0])


def test_description_tells_what_can_change_a_score(load, llava, qwen2_vl):
    one = load(llava).describe()
    assert one["id"] == f"hf:{llava}"
    assert one["coordinates"] == "unit100"
    assert one["prompt_style"]["name"] == "plain"
    assert len({json.dumps(load(llava, space).describe()) for space in SPACES}) == len(SPACES)
    assert load(llava, "unit100", "token").describe() != one
    other = load(qwen2_vl).describe()
    assert {"config_sha256", "weights"} <= {key for key in one if one[key] != other[key]}
    assert load(llava).describe() == one


def test_a_checkpoint_of_this_project_answers_the_same_either_way(load, tiny_checkpoint):
    ours = load_answerer(str(tiny_checkpoint), "cpu", "float32")
    foreign = load(tiny_checkpoint, "unit100", "token")
    answers = [
        [answer.text for answer in answerer.answer_batch(REQUESTS[:3], batch_size=3, max_new_tokens=16)]
        for answerer in (ours, foreign)
    ]
    assert answers[0] == answers[1]


def test_a_whole_benchmark(tiny, llava, tmp_path, capsys):
    argv = ["--task", "vg", "--benchmark", tiny, "--model", f"hf:{llava}", "--coordinates", "unit1000"]
    argv += ["--limit", 3, "--out", tmp_path / "o", "--device", "cpu"]
    assert run_benchmark.main([str(item) for item in argv]) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["model"] == f"hf:{llava}"
    results = json.loads((tmp_path / "o/results.json").read_text())
    assert results["model"]["coordinates"] == "unit1000"
    assert "'range': 1000" in results["definitions"]["codec_ceiling"]


def damaged(kind, llava, folder):
    shutil.copytree(llava, folder)
    if kind == "no weights":
        (folder / "model.safetensors").unlink()
    elif kind == "no template":
        (folder / "chat_template.jinja").unlink()
    elif kind == "crops":
        path = folder / "processor_config.json"
        config = json.loads(path.read_text())
        config["image_processor"]["do_center_crop"] = True
        path.write_text(json.dumps(config))
    elif kind == "text only":
        (folder / "config.json").write_text(json.dumps({"model_type": "qwen2"}))
    elif kind == "own code":
        config = json.loads((folder / "config.json").read_text())
        config |= {"model_type": "mystery", "auto_map": {"AutoConfig": "code.Config"}}
        (folder / "config.json").write_text(json.dumps(config))
    return folder


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("no weights", "no file named model.safetensors"),
        ("no template", "no chat template"),
        ("crops", "declare another space"),
        ("text only", "cannot load model"),
        ("own code", "cannot load model"),
    ],
)
def test_models_that_cannot_be_asked_are_refused(kind, message, llava, tiny, tmp_path, capsys):
    folder = damaged(kind, llava, tmp_path / "model")
    argv = ["--task", "vg", "--benchmark", tiny, "--out", tmp_path / "o", "--device", "cpu"]
    argv += ["--model", f"hf:{folder}", "--coordinates", "pixels_of_input"]
    assert run_benchmark.main([str(item) for item in argv]) == 2
    err = capsys.readouterr().err
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert message in err
    assert not (tmp_path / "o").exists()
