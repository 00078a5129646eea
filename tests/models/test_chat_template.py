"""The template's form, as far as others read it; its text is tested with the processor."""

from __future__ import annotations

import re

from rsunivlm.models.chat_template import chat_template


def test_the_loop_over_content_stands_where_vllm_looks_for_it() -> None:
    # vLLM walks the template's syntax tree for a loop over `content` of the messages' own loop variable.
    template = chat_template(" ")
    assert "{%- for message in messages -%}" in template
    assert re.search(r"{%- for item in message\['content'\] ", template)
    assert "macro" not in template
