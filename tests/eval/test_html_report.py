"""report.html: whole, without scripts and outside resources, and with nothing in it that a text put there."""

import re
from html.parser import HTMLParser

from PIL import Image

from eval import vg
from eval.html_report import Sample, overview_page, task_page, task_report
from eval.predictions import Prediction
from eval.scoring import score
from eval.tasks import protocol_of

NASTY = '"><script>alert(1)</script><img src=x onerror=alert(2)> & <b>'
VOID = {"meta", "img", "br"}


class Page(HTMLParser):
    """Tags, attributes and text of a page; fails where tags are not nested."""

    def __init__(self, page):
        super().__init__()
        self.open, self.tags, self.attributes, self.text = [], [], [], []
        self.feed(page)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)

    def says(self, text):
        return text in " ".join(" ".join(self.text).split())


def results(task="vg", benchmark="mini", notes=(), details=(), **changes):
    box = [10.0, 10.0, 30.0, 30.0]
    rows = [
        Prediction(
            id=str(number),
            benchmark=benchmark,
            split="test",
            task=task,
            images=(f"{number}.png",),
            image_size=(100, 100),
            prompt="[VG] it",
            answer="",
            parsed={"boxes_px": [box] if number else []},
            truth={"boxes_px": [box]},
            yardsticks={vg.CEILING: {"boxes_px": [box]}, vg.CENTRE: {"boxes_px": [[0.0, 0.0, 9.0, 9.0]]}},
            report={},
            route={},
            decoder={},
            model={},
        )
        for number in range(4)
    ]
    found = score(vg, rows, protocol_of(vg, "strict", {}), resamples=50)
    return {
        "task": task,
        "benchmark": benchmark,
        "split": "test",
        **found,
        "details": found["details"] | dict(details),
        "definitions": {vg.CEILING: "the codec's", vg.CENTRE: "nothing fitted"},
        "limit": {"asked": 4, "of": 4, "seed": 0},
        "notes": list(notes),
        "model": {"id": "nano", "weights": "w1"},
        "decoder": {"strategy": "greedy"},
        "image_root": None,
        "predictions_sha256": "f" * 64,
    } | changes


def sample(heading="worst  IoU 0.00", caption="[VG] it"):
    return Sample(Image.new("RGB", (320, 200), (90, 90, 90)), heading, caption)


def test_a_page_says_everything():
    page = Page(
        task_page(task_report(results(benchmark="dior_rsvg", notes=["a leak"]), ["[VG] it"] * 4, [sample()]))
    )
    for text in (
        "vg on dior_rsvg (test), 4 questions",
        "questions: 4 about 4 images",
        "unparsable answers: 1 (scored as wrong)",
        "a leak",
        "75.0 [25.0, 100.0]",  # acc@0.5 with its interval
        "codec ceiling",
        "Gain over the baselines",
        "72.47",  # the paper's row
        "other papers print 31.4",  # and a footnote
        "worst IoU 0.00",
        "Every question: [VG] it",
        "iou: pixel",
        "w1",
        results()["questions_sha256"],
        "f" * 64,
        "nothing fitted",
    ):
        assert page.says(text), text
    assert page.tags.count("svg") == 4  # one interval plot per metric
    assert page.tags.count("figure") == 1


def test_one_file_without_scripts_or_outside_resources():
    page = task_page(task_report(results(), ["a", "b"], [sample()]))
    found = Page(page)
    assert "script" not in found.tags
    assert not [name for name, _ in found.attributes if name.startswith("on")]
    links = [value for name, value in found.attributes if name in ("src", "href")]
    assert all(re.match(r"data:image/jpeg;base64,/9j/|#", link) for link in links)
    assert "url(" not in page
    assert "@import" not in page
    assert not found.says("Every question")


def test_texts_of_models_and_files_stay_text():
    given = results(
        notes=[NASTY],
        details={"answers": {NASTY: 3}, "classes": {NASTY: {NASTY: 1}}, "words": [NASTY]},
        definitions={vg.CEILING: NASTY, vg.CENTRE: NASTY},
        model={"id": NASTY, NASTY: NASTY},
        split=NASTY,
        decoder={NASTY: NASTY},
    )
    given["details"]["confusion"] = {"columns": [NASTY, "no class"], "counts": [[1, 2]]}
    report = task_report(given, [NASTY], [sample(NASTY, NASTY)])
    for text in (task_page(report), overview_page([report, report, report])):
        page = Page(text)
        assert "script" not in page.tags
        assert not [name for name, _ in page.attributes if name.startswith("on")]
        assert page.says(" ".join(NASTY.split()))


def test_confusion_matrix_and_tables_of_details():
    confusion = {"columns": ["sea", "beach", "no class"], "counts": [[5, 1, 0], [0, 2, 3]]}
    classes = {
        "roof": {"questions": 5, "model": {"IoU": 0.12345, "F1": None}, "codec_ceiling": {"IoU": 0.9}},
        "tree": {"questions": 2, "model": {"IoU": 0.5}},
    }
    page = Page(
        task_page(
            task_report(
                results(details={"confusion": confusion, "classes": classes, "share": 0.25}), ["a"], []
            )
        )
    )
    assert page.says("beach answered as no class: 3 of 5")
    assert page.says("roof: codec ceiling")
    assert page.says("0.1235")
    assert page.says("The images are not here")
    assert page.tags.count("img") == 0


def test_overview_of_tasks():
    scores = results()
    other = results() | {"task": "sc", "metrics": {"accuracy": {"value": 1.2, "low": None, "high": None}}}
    other |= {
        "yardsticks": {"most_frequent_class": {"accuracy": {"value": 0.1, "low": 0.0, "high": 0.2}}},
        "margins": {"most_frequent_class": {"accuracy": {"value": 1.1, "low": None, "high": None}}},
    }
    reports = [task_report(each, ["a"], [sample()]) for each in (scores, other, scores | {"task": "reg"})]
    text = overview_page(reports)
    page = Page(text)
    assert page.says("nano on mini: 3 tasks")
    assert page.says("not scaled by ceilings")
    ids = [value for name, value in page.attributes if name == "id"]
    assert ids == ["vg", "sc", "reg"]
    assert {value for name, value in page.attributes if name == "href"} == {"#vg", "#sc", "#reg"}
    assert overview_page(reports) == text
    # Two tasks make no radar.
    assert not Page(overview_page(reports[:2])).says("not scaled by ceilings")
