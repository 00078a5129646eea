"""Several turns about the same image or pair.

Each turn is routed on its own, and its expert reads the whole conversation. While turns go to the same
expert, what was computed for earlier ones is used again; a turn that goes to another expert reads the history
anew, because keys and values of one expert mean nothing to another. Either way the answer is that of a fresh
run.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from rsunivlm.inference.answer import Answer, ImageLike, Request
from rsunivlm.tasks import IMAGE_MARK, Task, with_token


class Conversation:
    """Turns about one image or a pair; made by `RSUniVLM.converse`.

    Attributes:
        history: The turns so far, each prompt (with its task token) and the text of the answer.
    """

    def __init__(self, answer: Callable[[Request], Answer], images: Sequence[ImageLike]) -> None:
        self._answer, self._images = answer, tuple(images)
        self.history: list[tuple[str, str]] = []

    def ask(
        self,
        prompt: str,
        *,
        task: Task | str | None = None,
        labels: Sequence[str] | None = None,
        choices: Sequence[str] | None = None,
        max_new_tokens: int | None = None,
    ) -> Answer:
        """Ask the next question; arguments as of `RSUniVLM.ask`. An error leaves the history as it was.

        Raises:
            ValueError: See `RSUniVLM.answer_batch`; the conversation has become too long.
        """
        request = Request(
            self._images, prompt, task, labels, choices, tuple(self.history), max_new_tokens=max_new_tokens
        )
        answer = self._answer(request)
        asked = with_token(prompt.replace(IMAGE_MARK, "").strip(), answer.route.task)
        self.history.append((asked, answer.text))
        return answer
