"""The chat format as a Jinja template, for `apply_chat_template` with lists of typed content.

It renders the same text that `encode_conversation` tokenises. `generation` marks what the assistant writes,
up to and including its end, for masks of what to train on; it leaves no trace in the text.

The loop over `message['content']` is written out, in no macro: vLLM looks for it in the template to tell that
images may stand in lists of content, and else puts a line break between two of them.
"""

from __future__ import annotations

_TEMPLATE = """\
{%- if messages[0]['role'] != 'system' -%}
{{- '<|im_start|>system\\nYou are a helpful assistant.<|im_end|>\\n' -}}
{%- endif -%}
{%- for message in messages -%}
{%- set text -%}
{%- if message['content'] is string -%}
{{- message['content'] -}}
{%- else -%}
{%- set images = message['content'] | selectattr('type', 'equalto', 'image') | list -%}
{%- set texts = message['content'] | selectattr('type', 'equalto', 'text') | list -%}
{%- if images | length + texts | length != message['content'] | length -%}
{{- raise_exception('the content of a message is of the types text and image only') -}}
{%- endif -%}
{%- for item in message['content'] | selectattr('type', 'equalto', 'image') -%}
{{- '<image>' -}}{%- if not loop.last -%}{{- 'SEPARATOR' -}}{%- endif -%}
{%- endfor -%}
{%- if images -%}{{- '\\n' -}}{%- endif -%}
{%- for item in texts -%}{{- item['text'] -}}{%- endfor -%}
{%- endif -%}
{%- endset -%}
{{- '<|im_start|>' + message['role'] + '\\n' -}}
{%- if message['role'] == 'assistant' -%}
{%- generation -%}{{- text + '<|im_end|>' -}}{%- endgeneration -%}
{%- else -%}
{{- text + '<|im_end|>' -}}
{%- endif -%}
{{- '\\n' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}
{{- '<|im_start|>assistant\\n' -}}
{%- endif -%}
"""


def chat_template(image_separator: str) -> str:
    """The template.

    Args:
        image_separator: Text between two image marks (`config.image_separator`).
    """
    return _TEMPLATE.replace("'SEPARATOR'", repr(image_separator))
