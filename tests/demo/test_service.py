"""From files and words to a result, and every refusal before the model is troubled."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from rsunivlm.demo.limits import Limits
from rsunivlm.demo.service import DemoService
from rsunivlm.inference.predictor import RSUniVLM
from rsunivlm.inference.rs_moe import RSMoE


@pytest.fixture
def service(predictor, tmp_path: Path) -> DemoService:
    (tmp_path / "out").mkdir()
    return DemoService(predictor, Limits(max_pixels=10_000, max_seconds=7), tmp_path / "out")


def test_question_reaches_the_model_with_its_limits(service, predictor, grey_png) -> None:
    result = service.ask([str(grey_png()), None], "the ship", "vg")
    (request,) = predictor.requests
    assert (request.prompt, request.task, request.max_seconds) == ("the ship", "vg", 7)
    assert [picture.size for picture in request.images] == [(60, 40)]
    assert result.answer.route.source == "explicit"
    assert all(path.is_file() and service.folder in path.parents for path in result.files.values())


def test_automatic_task_leaves_the_route_to_the_model(service, predictor, grey_png) -> None:
    result = service.ask([str(grey_png()), str(grey_png("b.png"))], "Segment the changes", classes="building")
    (request,) = predictor.requests
    assert (request.task, request.labels) == (None, ("building",))
    assert (result.answer.route.source, len(result.views)) == ("structure", 2)


def test_second_upload_alone_is_one_image(service, predictor, grey_png) -> None:
    service.ask([None, str(grey_png())], "[VG] the ship")
    assert len(predictor.requests[0].images) == 1


def test_refusals_come_before_the_model(service, predictor, grey_png: Callable[..., Path]) -> None:
    with pytest.raises(ValueError, match="choose an image first"):
        service.ask([None, None], "the ship")
    with pytest.raises(ValueError, match="write what you want to know"):
        service.ask([str(grey_png()), None], "")
    with pytest.raises(ValueError, match="megapixels"):
        service.ask([str(grey_png(size=(101, 100))), None], "the ship")
    assert predictor.requests == []


def test_wrong_image_count_is_refused(tiny_checkpoint: Path, tmp_path: Path, grey_png) -> None:
    service = DemoService(RSUniVLM.from_pretrained(tiny_checkpoint), Limits(), tmp_path)
    with pytest.raises(ValueError, match=r"looks at 2 image\(s\), 1 were given"):
        service.ask([str(grey_png()), None], "what has changed?", "cc")
    with pytest.raises(ValueError, match=r"looks at 1 image\(s\), 2 were given"):
        service.ask([str(grey_png()), str(grey_png("b.png"))], "the ship", "vg")


def test_caption_tab_answers_with_an_rs_moe(make_tiny_rs_moe, tmp_path: Path, grey_png) -> None:
    model = RSMoE(*make_tiny_rs_moe())
    answer = DemoService(model, Limits(), tmp_path).ask([str(grey_png()), None], "", "cap").answer
    assert answer.drafts
    hurried = DemoService(model, Limits(max_seconds=1e-6), tmp_path)
    assert not hurried.ask([str(grey_png()), None], "", "cap").answer.finished
    with pytest.raises(ValueError, match="answers questions \\(cap, vqa\\), not task vg"):
        hurried.ask([str(grey_png()), None], "the ship", "vg")


def test_limits_are_positive() -> None:
    with pytest.raises(ValueError, match="max_seconds must be above 0"):
        Limits(max_seconds=0)


def test_answer_is_cut_at_the_time_limit(tiny_checkpoint: Path, tmp_path: Path, grey_png) -> None:
    service = DemoService(RSUniVLM.from_pretrained(tiny_checkpoint), Limits(max_seconds=1e-6), tmp_path)
    assert not service.ask([str(grey_png()), None], "Segment the water", classes="water").answer.finished
