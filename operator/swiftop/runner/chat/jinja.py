"""A chat template in Jinja that renders what ms-swift renders.

Two ways: the model's own template with defaults put in front (a system prompt, whether it thinks), and one made of
the parts that a template of ms-swift consists of. Both are only candidates: the caller compares them token for token.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Optional

_QUERY, _SYSTEM = "{{QUERY}}", "{{SYSTEM}}"
HERMES = "hermes"
EMPTY: Mapping[str, bool] = MappingProxyType({})


@dataclass(frozen=True)
class Parts:
    """A template of ms-swift, its tokens as text."""

    prefix: str
    prompt: str  # with {{QUERY}}
    separator: str  # after an answer that another question follows
    suffix: str  # after the last answer
    system_prefix: Optional[str] = None  # with {{SYSTEM}}; None: takes no system prompt
    default_system: str = ""
    response_prefix: str = ""
    tools: str = ""  # how tools are told: hermes, or nothing that is known here


class Unsupported(ValueError):
    """No Jinja template can be made of these parts."""


def with_defaults(template: str, *, system: str = "", switches: Mapping[str, bool] = EMPTY) -> str:
    """The model's own template: tools, thoughts and all it can do stay.

    ``switches`` are variables that a client may set, as enable_thinking; these are their values when it does not.
    """
    lines = [
        f"{{%- if {name} is not defined %}}{{%- set {name} = {str(value).lower()} %}}{{%- endif %}}"
        for name, value in switches.items()
    ]
    if system:
        lines += [
            "{%- if not messages or messages[0]['role'] != 'system' %}",
            f"{{%- set messages = [{{'role': 'system', 'content': {_literal(system)}}}] + messages %}}",
            "{%- endif %}",
        ]
    return "".join(lines) + template


def without_nulls(template: str) -> str:
    """A server puts null in the place of what a client leaves out of a tool; in the training there was nothing."""
    return _WITHOUT_NULLS + template


def render(parts: Parts) -> str:
    """A template of the parts alone."""
    before, found, after = parts.prompt.partition(_QUERY)
    if not found or any("{{" in text for text in (before, after, parts.prefix, parts.separator, parts.suffix)):
        raise Unsupported(f"its prompt is {parts.prompt!r}")
    ahead, found, behind = (parts.system_prefix or _SYSTEM).partition(_SYSTEM)
    if not found or "{{" in ahead + behind:
        raise Unsupported(f"its system prompt is {parts.system_prefix!r}")
    lines = [
        "{%- set first = messages[0] if messages else {'role': 'none'} %}",
        "{%- set rest = messages[1:] if first['role'] == 'system' else messages %}",
        f"{{%- set system = first['content'] if first['role'] == 'system' else {_literal(parts.default_system)} %}}",
        *(_HERMES_TOOLS if parts.tools == HERMES else _NO_TOOLS),
        *_refuse_system(parts),
        f"{{{{- {_literal(ahead)} + system + {_literal(behind)} if system else {_literal(parts.prefix)} }}}}",
        "{%- for message in rest %}",
        "{%- set role = message['role'] %}",
        "{%- set previous = rest[loop.index0 - 1]['role'] if not loop.first else '' %}",
        "{%- set following = rest[loop.index0 + 1]['role'] if not loop.last else '' %}",
        "{%- if role in ['user', 'tool'] %}",
        f"{{{{- {_literal(parts.separator)} if previous == 'assistant' else '' }}}}",
        f"{{{{- {_literal(before)} if previous != role else '' }}}}",
        *(_HERMES_ANSWER if parts.tools == HERMES else ("{{- message['content'] }}",)),
        f"{{{{- {_literal(after)} if following != role else '' }}}}",
        "{%- elif role == 'assistant' %}",
        "{{- message['content'] or '' }}",
        *(_HERMES_CALLS if parts.tools == HERMES else ()),
        f"{{{{- {_literal(parts.suffix)} if loop.last and not add_generation_prompt else '' }}}}",
        "{%- endif %}",
        "{%- endfor %}",
    ]
    if parts.response_prefix:
        lines.append(f"{{{{- {_literal(parts.response_prefix)} if add_generation_prompt else '' }}}}")
    return "\n".join(lines)


_WITHOUT_NULLS = "".join((
    "{%- if tools %}{%- set kept = namespace(tools=[]) %}{%- for tool in tools %}",
    "{%- set function = dict(tool['function'].items() | rejectattr(1, 'none')) %}",
    "{%- set kept.tools = kept.tools + [{'type': tool['type'], 'function': function}] %}",
    "{%- endfor %}{%- set tools = kept.tools %}{%- endif %}",
))  # fmt: skip
_NO_TOOLS = (
    "{%- if tools %}",
    "{{- raise_exception('this chat template takes no tools') }}",
    "{%- endif %}",
)
_HERMES_TOOLS = (
    "{%- if tools %}",
    '{%- set system = system + "\\n\\n# Tools\\n\\nYou may call one or more functions to assist with the user query.'
    '\\n\\nYou are provided with function signatures within <tools></tools> XML tags:\\n<tools>" %}',
    "{%- set signatures = namespace(text='') %}",
    "{%- for tool in tools %}",
    "{%- set signatures.text = signatures.text + '\\n' + (tool | tojson) %}",
    "{%- endfor %}",
    '{%- set system = system + signatures.text + "\\n</tools>\\n\\nFor each function call, return a json object with '
    'function name and arguments within <tool_call></tool_call> XML tags:\\n<tool_call>\\n{\\"name\\": '
    '<function-name>, \\"arguments\\": <args-json-object>}\\n</tool_call>" %}',
    "{%- endif %}",
)
_HERMES_CALLS = (
    "{%- for call in message['tool_calls'] or [] %}",
    "{%- set call = call['function'] if 'function' in call else call %}",
    "{{- '\\n' if not loop.first else '' }}",
    "{{- '<tool_call>\\n{\"name\": ' + (call['name'] | tojson) + ', \"arguments\": ' }}",
    "{{- call['arguments'] if call['arguments'] is string else (call['arguments'] | tojson) }}",
    "{{- '}\\n</tool_call>' }}",
    "{%- endfor %}",
)
_HERMES_ANSWER = (
    "{%- if role == 'tool' %}",
    "{{- '\\n' if previous == 'tool' else '' }}",
    "{{- '<tool_response>\\n' + message['content'] + '\\n</tool_response>' }}",
    "{%- else %}",
    "{{- message['content'] }}",
    "{%- endif %}",
)


def _refuse_system(parts: Parts) -> tuple[str, ...]:
    if parts.system_prefix is not None:
        return ()
    return ("{%- if system %}", "{{- raise_exception('this chat template takes no system prompt') }}", "{%- endif %}")


def _literal(text: str) -> str:
    """A string of Jinja, which reads the escapes that JSON writes."""
    return json.dumps(text, ensure_ascii=False)
