"""Start the page on this machine: loopback only, no share link, no statistics, one folder for all files."""

from __future__ import annotations

import os
import signal
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from rsunivlm.demo.examples import available_examples
from rsunivlm.demo.limits import Limits
from rsunivlm.demo.service import DemoService, Predictor
from rsunivlm.inference.loading import BUNDLED_CHECKPOINT

if TYPE_CHECKING:
    from rsunivlm.inference import families

HOST = "127.0.0.1"
# Read by Gradio when it is imported and started. Its run history offers to copy runs to a hub.
ENVIRONMENT = {"GRADIO_ANALYTICS_ENABLED": "False", "GRADIO_RUN_HISTORY": "False"}


@contextmanager
def serve(predictor: Predictor, about: str, limits: Limits, *, port: int | None = None) -> Iterator[str]:
    """Serve the page until the context ends; yields its address.

    Args:
        predictor: Answers the questions, one at a time.
        about: One line on the model for the page's head.
        limits: What a visitor may ask for.
        port: Where to listen; None takes a free one from 7860 upwards.

    Raises:
        ValueError: Gradio is not installed, or the port is taken.
    """
    if find_spec("gradio") is None:
        raise ValueError("the demo needs gradio: pip install 'rsunivlm[demo]'")
    with tempfile.TemporaryDirectory(prefix="rsunivlm-demo-") as folder:
        os.environ.update(ENVIRONMENT, GRADIO_TEMP_DIR=folder)
        from starlette.middleware import Middleware

        from rsunivlm.demo.local_only import RefuseRemoteFiles
        from rsunivlm.demo.page import build_page
        from rsunivlm.demo.style import CSS, theme

        examples = available_examples(predictor.tasks)
        page = build_page(DemoService(predictor, limits, Path(folder)), about, examples)
        page.queue(max_size=limits.max_waiting, default_concurrency_limit=2)
        try:
            _, address, _ = page.launch(
                server_name=HOST,
                server_port=port,
                share=False,
                quiet=True,
                show_error=False,
                prevent_thread_lock=True,
                max_file_size=int(limits.max_file_mb * 1e6),
                allowed_paths=[str(path) for example in examples for path in example.paths()],
                footer_links=[],
                ssr_mode=False,
                enable_monitoring=False,
                mcp_server=False,
                theme=theme(),
                css=CSS,
                app_kwargs={"middleware": [Middleware(RefuseRemoteFiles)]},
            )
        except OSError as error:
            raise ValueError(f"cannot listen on {HOST}:{port}: {error}") from error
        try:
            yield address
        finally:
            page.close(verbose=False)
            del os.environ["GRADIO_TEMP_DIR"]


def describe(model: families.Predictor, checkpoint: str | os.PathLike[str]) -> str:
    """One line on a model for the page's head."""
    name = Path(checkpoint).name
    size = sum(parameter.numel() for parameter in model.model.parameters())
    line = f"Model {name}: {size / 1e6:,.1f} million parameters on {model.model.device}."
    if name == Path(BUNDLED_CHECKPOINT).name:
        line += " It is a small demonstration trained mostly on synthetic scenes; its masks are rough."
    return line


def wait_for_signal() -> None:
    """Return at Ctrl+C or SIGTERM."""
    ended = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: ended.set())
    ended.wait()
