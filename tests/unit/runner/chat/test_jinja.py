"""A chat template made of the parts of ms-swift's; that it renders the same is tested with the real ms-swift."""

from __future__ import annotations

from dataclasses import replace

import pytest

from swiftop.runner.chat import jinja
from swiftop.runner.chat.jinja import Parts

LLAMA = Parts(
    prefix="<|begin|>",
    prompt="<|user|>\n{{QUERY}}<|end|><|assistant|>\n",
    separator="<|end|>",
    suffix="<|eot|>",
    system_prefix="<|begin|><|system|>{{SYSTEM}}<|end|>",
    default_system='Be "kind".\n你好',
    response_prefix="Well, ",
)
GOLDEN = """\
{%- set first = messages[0] if messages else {'role': 'none'} %}
{%- set rest = messages[1:] if first['role'] == 'system' else messages %}
{%- set system = first['content'] if first['role'] == 'system' else "Be \\"kind\\".\\n你好" %}
{%- if tools %}
{{- raise_exception('this chat template takes no tools') }}
{%- endif %}
{{- "<|begin|><|system|>" + system + "<|end|>" if system else "<|begin|>" }}
{%- for message in rest %}
{%- set role = message['role'] %}
{%- set previous = rest[loop.index0 - 1]['role'] if not loop.first else '' %}
{%- set following = rest[loop.index0 + 1]['role'] if not loop.last else '' %}
{%- if role in ['user', 'tool'] %}
{{- "<|end|>" if previous == 'assistant' else '' }}
{{- "<|user|>\\n" if previous != role else '' }}
{{- message['content'] }}
{{- "<|end|><|assistant|>\\n" if following != role else '' }}
{%- elif role == 'assistant' %}
{{- message['content'] or '' }}
{{- "<|eot|>" if loop.last and not add_generation_prompt else '' }}
{%- endif %}
{%- endfor %}
{{- "Well, " if add_generation_prompt else '' }}"""


def test_the_whole_template() -> None:
    assert jinja.render(LLAMA) == GOLDEN


def test_a_template_without_system_prompt_refuses_one() -> None:
    lines = jinja.render(replace(LLAMA, system_prefix=None, default_system="")).splitlines()
    assert lines[6:9] == [
        "{%- if system %}", "{{- raise_exception('this chat template takes no system prompt') }}", "{%- endif %}",
    ]  # fmt: skip


def test_the_models_own_template_gets_the_defaults_in_front() -> None:
    assert jinja.with_defaults("{{ messages }}", system='Be "x"', switches={"enable_thinking": False}) == (
        "{%- if enable_thinking is not defined %}{%- set enable_thinking = false %}{%- endif %}"
        "{%- if not messages or messages[0]['role'] != 'system' %}"
        "{%- set messages = [{'role': 'system', 'content': \"Be \\\"x\\\"\"}] + messages %}{%- endif %}{{ messages }}"
    )


@pytest.mark.parametrize(
    "parts",
    [
        replace(LLAMA, prompt="no place for the question"),
        replace(LLAMA, prompt="[Round {{ROUND1}}]\n{{QUERY}}"),
        replace(LLAMA, system_prefix="no place for the system prompt"),
    ],
)
def test_other_parts_are_unsupported(parts: Parts) -> None:
    with pytest.raises(jinja.Unsupported):
        jinja.render(parts)
