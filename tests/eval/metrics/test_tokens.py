"""String conventions, by hand and against coco-caption's tokeniser where there is Java."""

import json

import pytest

from eval.metrics import coco, tokens

needs_java = pytest.mark.skipif(coco.java() is None, reason=f"PTB tokens: {coco.NO_JAVA}")
PLAIN = [
    "It's a two-lane road; there aren't any cars!",
    " many buildings , and some trees are near it .",
    "We cannot see 3.5 km of the bird’s nest, about 1,000 metres.",
    'a "baseball diamond" and/or 50% of it',
]


def test_words_by_hand():
    assert tokens.words(PLAIN) == [
        "it 's a two-lane road there are n't any cars",
        "many buildings and some trees are near it",
        "we can not see 3.5 km of the bird 's nest about 1,000 metres",
        "a baseball diamond and/or 50 % of it",
    ]
    assert tokens.words([" . ", ""]) == ["", ""]


def test_ptb_without_java_names_the_way_out(monkeypatch):
    monkeypatch.setattr(tokens, "java", lambda: None)
    with pytest.raises(ValueError, match=r"no Java.*--tokens words"):
        tokens.ptb(["a road"])


@needs_java
def test_ptb_is_that_of_coco_caption_and_words_agree():
    from pycocoevalcap.tokenizer.ptbtokenizer import PTBTokenizer

    texts = [text.replace("’", "'") for text in PLAIN] + ["a (small) pond", "", " a road .", "."]
    found = tokens.ptb(texts)
    expected = PTBTokenizer().tokenize({n: [{"caption": text}] for n, text in enumerate(texts) if text})
    assert [line for line, text in zip(found, texts, strict=True) if text] == [
        expected[number][0] for number, text in enumerate(texts) if text
    ]
    assert found[5] == ""
    assert tokens.words(texts[:4]) == found[:4]
    assert found[4] == "a -lrb- small -rrb- pond"  # what `words` leaves out


@needs_java
def test_words_agree_with_ptb_on_real_captions(rs_sample):
    content = json.loads((rs_sample("rsicd") / "dataset_rsicd.json").read_text(encoding="utf-8"))
    texts = sorted({sentence["raw"] for image in content["images"] for sentence in image["sentences"]})
    differing = [
        text
        for text, ours, theirs in zip(texts, tokens.words(texts), tokens.ptb(texts), strict=True)
        if ours != theirs
    ]
    assert len(differing) < len(texts) / 1000, differing


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            " Two houses, and a road; built .",
            ["two houses , and a road ; built", "Two houses, and a road; built ."],
        ),
        ("is it new ?", ["is it new", "is it new ?"]),
        ("", ["", ""]),
        (" \n", ["", ""]),
    ],
)
def test_conventions_of_change_captions(text, expected):
    assert [tokens.change_agent([text])[0], tokens.detached([text])[0]] == expected
    assert tokens.raw([text]) == [f" {expected[1]}" if expected[1] else ""]
