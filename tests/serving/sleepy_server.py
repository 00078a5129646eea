"""A server without a model, as a process: every answer takes SECONDS. Arguments: SECONDS GRACE."""

from __future__ import annotations

import sys
import threading
from concurrent.futures import Future
from types import SimpleNamespace

from rsunivlm.inference.answer import Answer
from rsunivlm.serving.server import bind, serve
from rsunivlm.serving.settings import Settings
from rsunivlm.tasks import route


class SleepyEngine:
    waiting = running = 0

    def __init__(self, seconds):
        self.seconds = seconds

    def submit(self, request, on_text=None):
        self.running += 1
        future = Future()
        future.set_running_or_notify_cancel()
        timer = threading.Timer(self.seconds, future.set_result, [Answer("yes", route(request.prompt))])
        timer.daemon = True
        timer.start()
        return future

    def give_up(self, future):
        pass  # the timers end by themselves

    def close(self, *, drain=True):
        pass


predictor = SimpleNamespace(
    check=lambda request: route(request.prompt),
    model=SimpleNamespace(config=SimpleNamespace(text_config=SimpleNamespace(max_position_embeddings=100))),
    processor=SimpleNamespace(
        encode_conversation=lambda turns, images: ([1], [1]),
        tokenizer=SimpleNamespace(encode=lambda text, add_special_tokens: [1]),
    ),
)
listener = bind("127.0.0.1", 0)


def say_address():
    sys.stdout.write(f"http://127.0.0.1:{listener.getsockname()[1]}\n")
    sys.stdout.flush()


settings = Settings(model_name="sleepy", grace=float(sys.argv[2]))
engine = SleepyEngine(float(sys.argv[1]))
serve(predictor, engine, settings, listener, on_start=say_address)
