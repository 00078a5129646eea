"""Charts: well-formed SVG, things where their numbers say, no text that is markup."""

import xml.etree.ElementTree as ET

import pytest

from eval.charts import Bar, Series, confusion_map, interval_plot, radar

NASTY = '<script>alert("x")</script> & co'


def parts(svg, tag, **attributes):
    """Elements of a kind; parsing fails where the SVG is not well-formed."""
    return [
        found
        for found in ET.fromstring(svg).iter(tag)
        if all(found.get(key.rstrip("_")) == value for key, value in attributes.items())
    ]


def test_interval_plot_puts_values_on_a_linear_axis():
    bars = [
        Bar("model", "model", 0.5, 0.25, 0.75),
        Bar("ceiling", "bound", 1.0),
        Bar("none", "baseline", None),
    ]
    svg = interval_plot("acc@0.5", bars)
    ticks = {float(tick.get("x1")) for tick in parts(svg, "line", class_="grid")}
    left, right = min(ticks), max(ticks)
    dots = [float(dot.get("cx")) for dot in parts(svg, "circle")]
    assert dots == pytest.approx([(left + right) / 2, right])  # an undefined value has no dot
    [line] = parts(svg, "line", class_="range model")
    assert float(line.get("x1")) == pytest.approx(left + (right - left) / 4)
    assert float(line.get("x2")) == pytest.approx(left + (right - left) * 3 / 4)
    texts = [text.text for text in parts(svg, "text")]
    assert {"0", "50", "100", "acc@0.5", "50.0", "100.0", "-"} <= set(texts)


@pytest.mark.parametrize(
    ("top", "last_tick"), [(0.2, 100), (1.0, 100), (1.31, 150), (4.9, 500), (10.0, 1000)]
)
def test_axis_reaches_as_far_as_the_values(top, last_tick):
    svg = interval_plot("CIDEr", [Bar("model", "model", top, 0.1, top)])
    ticks = [float(text.text) for text in parts(svg, "text", **{"text-anchor": "middle"})]
    assert ticks[0] == 0
    assert ticks[-1] == last_tick
    assert 3 <= len(ticks) <= 9


def test_radar():
    svg = radar(
        ["a", "b", "c", "d"],
        [Series("model", "model", [1.0, 0.0, 2.0, 0.5]), Series("ceiling", "bound", [None, 0.5, None, None])],
    )
    [area] = parts(svg, "polygon", class_="area model")
    top, right, bottom, left = (tuple(map(float, point.split(","))) for point in area.get("points").split())
    centre_x, centre_y = right
    assert top[0] == bottom[0] == pytest.approx(centre_x)
    assert centre_y - top[1] == pytest.approx(bottom[1] - centre_y)  # 2.0 is drawn at the rim
    assert centre_x - left[0] == pytest.approx((centre_y - top[1]) / 2)
    assert not parts(svg, "polygon", class_="area bound")  # a line with gaps is no area
    assert len(parts(svg, "circle", class_="dot bound")) == 1


def test_confusion_map():
    svg = confusion_map(["cat", "dog", "no class"], [[3, 1, 0], [0, 0, 2]])
    cells = [(cell.get("class"), cell[0].text) for cell in parts(svg, "rect")]
    assert cells[:3] == [
        ("cell right", "cat answered as cat: 3 of 4"),
        ("cell wrong", "cat answered as dog: 1 of 4"),
        ("cell none", "cat answered as no class: 0 of 4"),
    ]
    assert cells[5] == ("cell wrong", "dog answered as no class: 2 of 2")
    assert [text.text for text in parts(svg, "text")].count("dog") == 2
    many = [f"class {number}" for number in range(45)]
    large = confusion_map([*many, "no class"], [[1] * 46] * 45)
    assert len(parts(large, "rect")) == 45 * 46


def test_names_are_escaped():
    for svg in (
        interval_plot(NASTY, [Bar(NASTY, "model", 0.5)]),
        radar([NASTY] * 3, [Series(NASTY, "model", [0.1] * 3)]),
        confusion_map([NASTY, "no class"], [[1, 0]]),
    ):
        assert "<script" not in svg
        assert parts(svg, "svg")
