"""The served page: loopback, limits, closed folders, messages for tracebacks, and nothing left behind."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from rsunivlm.cli import main
from rsunivlm.demo import launch
from rsunivlm.demo.examples import EXAMPLES, available_examples
from rsunivlm.demo.launch import serve
from rsunivlm.demo.limits import Limits
from rsunivlm.demo.questions import task_choices
from rsunivlm.tasks import Task

pytest.importorskip("gradio")
httpx = pytest.importorskip("httpx")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SimpleNamespace]:
    """A page whose model fails with a ValueError for 'odd' and with a bug for 'bug'."""

    def answer_batch(requests: list[Any]) -> None:
        if "odd" in requests[0].prompt:
            raise ValueError(f"an odd question: {requests[0].prompt}")
        raise RuntimeError("secret of the server")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tempfile.tempdir", str(tmp_path_factory.mktemp("temporary")))
        limits = Limits(max_file_mb=0.1, max_pixels=10_000)
        with serve(
            SimpleNamespace(tasks=tuple(Task), answer_batch=answer_batch), "a test", limits
        ) as address:
            client = httpx.Client(base_url=address, timeout=30)
            yield SimpleNamespace(client=client, config=client.get("/config").json())
            client.close()


def upload(site: SimpleNamespace, content: bytes, name: str = "a.png") -> Any:
    return site.client.post("/gradio_api/upload", files={"files": (name, content)})


def join(site: SimpleNamespace, session: str, file: str | None, prompt: str) -> Any:
    """Press the button as the browser does."""
    number = next(entry["id"] for entry in site.config["dependencies"] if entry["api_name"] == "ask")
    given = file and {"path": file, "meta": {"_type": "gradio.FileData"}}
    body = {"data": [given, None, prompt, "", "", ""], "fn_index": number, "session_hash": session}
    return site.client.post("/gradio_api/queue/join", json=body)


def ask(site: SimpleNamespace, file: str | None, prompt: str) -> dict[str, Any]:
    """Press the button; returns the last message."""
    join(site, "ask", file, prompt).raise_for_status()
    with site.client.stream("GET", "/gradio_api/queue/data", params={"session_hash": "ask"}) as stream:
        for line in stream.iter_lines():
            message = json.loads(line.removeprefix("data: ")) if line.startswith("data: ") else {}
            if message.get("msg") == "process_completed":
                return message
    raise AssertionError("the stream ended without an answer")


def test_page_listens_on_loopback_and_shares_nothing(site: SimpleNamespace) -> None:
    assert site.client.base_url.host == "127.0.0.1"
    names = ("analytics_enabled", "run_history", "show_error", "footer_links")
    assert [site.config.get(name, False) for name in names] == [False, False, False, []]
    assert "googleapis" not in site.client.get("/").text
    assert "googleapis" not in site.client.get("/theme.css").text


def test_too_large_upload_is_refused(site: SimpleNamespace) -> None:
    assert upload(site, bytes(100_001)).status_code == 413


def test_user_errors_are_messages(site: SimpleNamespace, grey_png) -> None:
    (file,) = upload(site, grey_png().read_bytes()).json()
    (bad,) = upload(site, b"rubbish", "bad.png").json()
    (large,) = upload(site, grey_png(size=(101, 100)).read_bytes(), "large.png").json()
    for given, prompt, reason in [
        (None, "odd", "choose an image first"),
        (file, "", "write what you want to know"),
        (file, "odd <img src=x>", "an odd question: odd &lt;img src=x&gt;"),
        (bad, "odd", "not a readable image: bad.png"),
        (large, "odd", "large.png has 101 x 100"),
        ("http://127.0.0.1:9/a.png", "odd", "not fetched"),
    ]:
        message = ask(site, given, prompt)
        assert not message["success"]
        assert reason in message["output"]["error"]
        assert "Traceback" not in json.dumps(message)


def test_bugs_show_neither_traceback_nor_text(site: SimpleNamespace, grey_png) -> None:
    (file,) = upload(site, grey_png().read_bytes()).json()
    message = ask(site, file, "bug")
    assert not message["success"]
    assert "secret" not in json.dumps(message)


def test_other_files_are_out_of_reach(site: SimpleNamespace, grey_png) -> None:
    (file,) = upload(site, grey_png().read_bytes()).json()
    assert site.client.get(f"/gradio_api/file={file}").status_code == 200
    for path in (__file__, "/etc/passwd", str(Path(launch.__file__)), "http://example.org/a.png"):
        assert site.client.get(f"/gradio_api/file={path}").status_code == 403
    assert not ask(site, __file__, "odd")["success"]


def test_example_pictures_are_in_reach(site: SimpleNamespace) -> None:
    for example in available_examples(tuple(Task)):
        for path in example.paths():
            assert site.client.get(f"/gradio_api/file={path}").status_code == 200


def test_files_are_gone_afterwards(predictor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with serve(predictor, "a test", Limits()) as address:
        (file,) = httpx.post(f"{address}gradio_api/upload", files={"files": ("a.png", b"x")}).json()
        assert Path(file).is_file()
        assert tmp_path in Path(file).parents
    assert list(tmp_path.iterdir()) == []


def test_questions_beyond_the_queue_are_turned_away(grey_png) -> None:
    asked, go_on = threading.Semaphore(0), threading.Event()

    def answer_batch(requests: list[Any]) -> None:
        asked.release()
        go_on.wait(60)
        raise ValueError("done")

    with serve(
        SimpleNamespace(tasks=tuple(Task), answer_batch=answer_batch), "a test", Limits(max_waiting=1)
    ) as address:
        client = httpx.Client(base_url=address, timeout=30)
        site = SimpleNamespace(client=client, config=client.get("/config").json())
        (file,) = upload(site, grey_png().read_bytes()).json()
        try:
            assert join(site, "first", file, "a").status_code == 200
            assert asked.acquire(timeout=30)  # it is being answered, and waits no longer
            assert join(site, "second", file, "b").status_code == 200
            refused = join(site, "third", file, "c")
            assert (refused.status_code, "full" in refused.text) == (503, True)
            assert not asked.acquire(blocking=False)  # one at a time
        finally:
            go_on.set()
            client.close()


def test_taken_port_is_told(predictor) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with (
            pytest.raises(ValueError, match=f"cannot listen on 127.0.0.1:{port}"),
            serve(predictor, "x", Limits(), port=port),
        ):
            pass


def test_missing_gradio_is_told(predictor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launch, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"rsunivlm\[demo\]"), serve(predictor, "x", Limits()):
        pass


def test_bad_limit_ends_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["demo", "--max-seconds", "0"]) == 2
    assert capsys.readouterr().err == "error: max_seconds must be above 0, got 0\n"


def test_examples_are_there() -> None:
    assert available_examples(tuple(Task)) == EXAMPLES


def test_a_model_of_few_tasks_is_asked_no_others() -> None:
    import gradio

    from rsunivlm.demo.fields import make_fields  # needs gradio

    captions = (Task.CAP, Task.VQA)
    assert [example.caption for example in available_examples(captions)] == ["Question", "Caption"]
    assert [value for _, value in task_choices(captions)] == ["", "vqa", "cap"]
    with gradio.Blocks():
        few, all_fields = make_fields(Limits(), captions), make_fields(Limits(), tuple(Task))
    assert (few.second.visible, few.classes.visible, few.bands.visible) == (False, False, True)
    assert (all_fields.second.visible, all_fields.classes.visible) == (True, True)
