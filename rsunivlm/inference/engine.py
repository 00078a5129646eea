"""Continuous batching for a server: questions join the running batch when they arrive and leave it when done.

One thread owns the model. It runs passes as long as there is something to do; between two passes it takes in
what has been submitted since.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import CancelledError, Future
from threading import Condition, Thread
from typing import TYPE_CHECKING

from rsunivlm.inference.answer import Answer, Request
from rsunivlm.inference.scheduler import Decoding, Job

if TYPE_CHECKING:
    from rsunivlm.inference.predictor import RSUniVLM


class Engine:
    """Answers requests from any thread, together.

    Example:
        >>> engine = Engine(RSUniVLM.from_pretrained(folder))
        >>> engine.submit(Request(["scene.png"], "[CAP] What does this image show?")).result().text
    """

    def __init__(self, predictor: RSUniVLM, *, slots: int = 16, decoding: Decoding | None = None) -> None:
        """Start the thread.

        Args:
            predictor: Answers; nobody else may use it meanwhile, but for `check`.
            slots: Rows decoded together.
            decoding: How to decode; by default as `RSUniVLM.answer_batch` does.

        Raises:
            ValueError: No slots.
        """
        if slots < 1:
            raise ValueError(f"slots must be at least 1, got {slots}")
        self._predictor = predictor
        self._decoding = decoding or Decoding()
        self._scheduler = predictor.scheduler(self._decoding, slots)
        self._slots = slots
        self._changed = Condition()
        self._submitted: list[tuple[Job, Future[Answer]]] = []
        self._futures: dict[Job, Future[Answer]] = {}
        self._unwanted: set[Future[Answer]] = set()
        self._closing = False
        self._thread = Thread(target=self._work, name="rsunivlm-engine", daemon=True)
        self._thread.start()

    def submit(self, request: Request, on_text: Callable[[str], None] | None = None) -> Future[Answer]:
        """Hand in a request.

        Args:
            request: The question.
            on_text: Called with every new piece of the answer's text, in the engine's thread: be quick.

        Returns:
            The answer to come; `give_up` drops the question. Its exception is a ValueError where an image
            cannot be read.

        Raises:
            ValueError: The request is wrong, see `RSUniVLM.check`.
            RuntimeError: The engine is closed.
        """
        job = self._predictor.job(request, self._decoding, on_text=on_text)
        future: Future[Answer] = Future()
        with self._changed:
            if self._closing or not self._thread.is_alive():
                raise RuntimeError("the engine is closed")
            self._submitted.append((job, future))
            self._changed.notify()
        return future

    def give_up(self, future: Future[Answer]) -> None:
        """Drop a question that nobody waits for any more; one that is being answered ends with this pass.

        Args:
            future: What `submit` returned; it is cancelled, or fails with a CancelledError. Of no effect on
                one that is done.
        """
        if not future.cancel():
            with self._changed:
                self._unwanted.add(future)

    @property
    def waiting(self) -> int:
        """Questions that have been submitted and not begun."""
        return len(self._submitted)

    @property
    def running(self) -> int:
        """Questions that are being answered."""
        return len(self._futures)

    def close(self, *, drain: bool = True) -> None:
        """Stop the thread; returns when it has stopped.

        Args:
            drain: Answer first what was submitted; else what has not begun is cancelled.
        """
        with self._changed:
            self._closing = True
            if not drain:
                for _, future in self._submitted:
                    future.cancel()
                self._submitted.clear()
            self._changed.notify()
        self._thread.join()

    def _work(self) -> None:
        try:
            while self._take_in():
                self._drop_unwanted()
                for job in self._scheduler.step():
                    future = self._futures.pop(job)
                    if job.error is not None:
                        future.set_exception(job.error)
                    else:
                        future.set_result(self._predictor.read(job))
        except BaseException as error:
            # Nobody else would learn of it: those who wait get it, and the thread ends.
            with self._changed:
                self._closing = True
                pending = [*self._futures.values(), *(future for _, future in self._submitted)]
                self._submitted.clear()
            self._futures.clear()
            for future in pending:
                if not future.done():
                    future.set_exception(error)
            raise

    def _drop_unwanted(self) -> None:
        with self._changed:
            unwanted, self._unwanted = self._unwanted, set()
        for job, future in list(self._futures.items()):
            if future in unwanted:
                self._scheduler.drop(job)
                del self._futures[job]
                future.set_exception(CancelledError())

    def _take_in(self) -> bool:
        """Move what was submitted to free slots, waiting if there is nothing to do; False at the end."""
        with self._changed:
            while not self._submitted and not self._futures and not self._closing:
                self._changed.wait()
            while self._submitted and len(self._futures) < self._slots:
                job, future = self._submitted.pop(0)
                if future.set_running_or_notify_cancel():
                    self._futures[job] = future
                    self._scheduler.waiting.append(job)
            return bool(self._futures or self._submitted) or not self._closing
