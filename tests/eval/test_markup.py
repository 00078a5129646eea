"""Markup: text comes out escaped, wherever it comes from."""

from html.parser import HTMLParser

from hypothesis import given
from hypothesis import strategies as st

from eval.markup import Markup, element, joined

TEXTS = st.text(st.characters(exclude_categories=("Cs", "Cc")), max_size=40)


class Reader(HTMLParser):
    def __init__(self, page):
        super().__init__()
        self.tags, self.attributes, self.text = [], [], ""
        self.feed(page)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs

    def handle_data(self, data):
        self.text += data


@given(TEXTS, TEXTS)
def test_any_text_survives_as_text(content, value):
    page = Reader(element("p", content, title=value))
    assert page.tags == ["p"]
    assert page.text == content
    assert page.attributes == [("title", value)]


def test_elements():
    assert element("td", "a < b", class_="name") == '<td class="name">a &lt; b</td>'
    assert element("p", [element("b", 1), None, [2.5, "<"]]) == "<p><b>1</b>2.5&lt;</p>"
    assert (
        element("text", text_anchor="end", x=1.23456, y=2.0, id=None)
        == '<text text-anchor="end" x="1.23" y="2"></text>'
    )
    assert element("br") == "<br>"
    assert element("meta", name="viewport") == '<meta name="viewport">'
    assert joined(["<", Markup("<hr>")]) == "&lt;<hr>"
