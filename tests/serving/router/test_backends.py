"""Servers as the command line names them."""

from __future__ import annotations

import pytest

from rsunivlm.cli import main
from rsunivlm.serving.router.backends import Backend, Backends, read_backends

URLS = ("image=http://a:1", "region=http://b:2/v1/", "pixel=https://c")


def named(backends: Backends) -> dict[int, list[tuple[str, str, str | None]]]:
    return {
        expert: [(server.expert, server.url, server.model) for server in servers]
        for expert, servers in backends.of_expert.items()
    }


def test_one_server_an_expert_or_one_for_all() -> None:
    assert named(read_backends(URLS, ("region=grounding",), 3)) == {
        0: [("image", "http://a:1", None)],
        1: [("region", "http://b:2", "grounding")],
        2: [("pixel", "https://c", None)],
    }
    shared = named(read_backends(("http://a:1", "region=http://b:2", "http://a:1/"), ("m",), 3))
    assert shared[0] == [("image", "http://a:1", "m")]
    assert shared[1] == [("region", "http://a:1", "m"), ("region", "http://b:2", "m")]
    assert named(read_backends(("all=http://a:1",), (), 1)) == {0: [("all", "http://a:1", None)]}


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--backend", "image=http://a:1"], "no backend for expert 'region'"),
        (["--backend", "scene=http://a:1"], "unknown expert 'scene'"),
        (["--backend", "a:1"], "no address of the form"),
        (["--backend", "ftp://a"], "no address of the form"),
        (["--backend", "http://a:1?key=b"], "no address of the form"),
        (["--backend", "http://a:port"], "no address"),
        (["--backend", "http://a", "--backend-model", "m", "--backend-model", "image=n"], "has two names"),
        (["--backend", "http://a", "--backend-input", "chat"], "sine2d positions"),
        (["--backend", "http://a", "--backend-key-file", "nowhere"], "cannot read the API key"),
        (["--backend-input", "embeddings"], "add --backend"),
    ],
)
def test_mistakes_end_with_one_line(options: list[str], words: str, capsys) -> None:
    assert main(["serve", "--port", "0", *options]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert words in error


def test_the_choice_prefers_what_answers_and_is_least_busy() -> None:
    first, second, third = (Backend("all", f"http://{name}") for name in "abc")
    backends = Backends({0: [first, second, third]})
    with backends.asking(first):
        assert backends.choose(0) is second
        second.note(up=False)
        assert backends.choose(0) is third
        assert backends.choose(0, [third]) is first  # busy before down
        assert backends.choose(0, [third, first]) is second
    assert backends.choose(0, [first, second, third]) is None
    second.note(up=True)
    turns = []
    for _ in range(6):
        turns.append(backends.choose(0))
        with backends.asking(turns[-1]):
            pass
    assert turns[:3] == turns[3:]
    assert {id(server) for server in turns} == {id(first), id(second), id(third)}
