"""`eval/run_benchmark.py` with a model that knows every answer, as a process that tests can watch and kill.

The environment says how long it takes for a batch (FAKE_SECONDS) and in which process it never comes back
(FAKE_STUCK_RANK).
"""

import json
import os
import sys
import time
from pathlib import Path

from eval import run_benchmark
from rsunivlm.codecs import BoxCodec, MaskCodec
from rsunivlm.inference.answer import read_answer
from rsunivlm.tasks import Task, route


class KnowsAll:
    """Says the true box, looked up by the prompt."""

    tasks = tuple(Task)
    box_codec, mask_codec = BoxCodec(), MaskCodec(8)

    def __init__(self, record_file):
        self.known = {}
        for line in Path(record_file).read_text().splitlines():
            record = json.loads(line)
            targets = record["targets"]
            prompt = record["conversations"][0]["value"].removeprefix("<image>\n")
            self.known[prompt] = self.box_codec.encode(targets["boxes_px"], targets["image_size"])

    def describe(self):
        return {"id": "fake"}

    def answer_batch(self, requests, *, batch_size, max_new_tokens):
        time.sleep(float(os.environ.get("FAKE_SECONDS", 0)))
        if os.environ.get("RANK") == os.environ.get("FAKE_STUCK_RANK", "nobody"):
            time.sleep(3600)
        return [
            read_answer(
                self.known[request.prompt],
                route(request.prompt),
                request.images[0].size,
                box_codec=self.box_codec,
                mask_codec=self.mask_codec,
            )
            for request in requests
        ]


if __name__ == "__main__":
    answerer = KnowsAll(sys.argv[sys.argv.index("--benchmark") + 1])
    run_benchmark.load_answerer = lambda *_: answerer
    sys.exit(run_benchmark.main(sys.argv[1:]))
