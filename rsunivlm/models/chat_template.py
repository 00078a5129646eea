"""The chat format as a Jinja template, for `apply_chat_template` with lists of typed content.

It renders the same text that `encode_conversation` tokenises. `generation` marks what the assistant writes,
up to and including its end, for masks of what to train on; it leaves no trace in the text.
"""

from __future__ import annotations

_TEMPLATE = """\
{%- if messages[0]['role'] != 'system' -%}
{{- '<|im_start|>system\\nYou are a helpful assistant.<|im_end|>\\n' -}}
{%- endif -%}
{%- macro text_of(content) -%}
{%- if content is string -%}
{{- content -}}
{%- else -%}
{%- set images = content | selectattr('type', 'equalto', 'image') | list -%}
{%- set texts = content | selectattr('type', 'equalto', 'text') | list -%}
{%- if images | length + texts | length != content | length -%}
{{- raise_exception('the content of a message is of the types text and image only') -}}
{%- endif -%}
{%- for item in images -%}
{{- '<image>' -}}{%- if not loop.last -%}{{- 'SEPARATOR' -}}{%- endif -%}
{%- endfor -%}
{%- if images -%}{{- '\\n' -}}{%- endif -%}
{%- for item in texts -%}{{- item['text'] -}}{%- endfor -%}
{%- endif -%}
{%- endmacro -%}
{%- for message in messages -%}
{{- '<|im_start|>' + message['role'] + '\\n' -}}
{%- if message['role'] == 'assistant' -%}
{%- generation -%}{{- text_of(message['content']) + '<|im_end|>' -}}{%- endgeneration -%}
{%- else -%}
{{- text_of(message['content']) + '<|im_end|>' -}}
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
