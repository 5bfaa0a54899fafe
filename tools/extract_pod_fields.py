"""Write the fields of a pod template, read from the models of the Kubernetes client.

    python -m tools.extract_pod_fields > operator/swiftop/api/pod_fields.json

The models are generated from the OpenAPI document of a Kubernetes release. Left out is what no patch of a training pod
may have in any form: ephemeral containers, volumes that Pod Security ``restricted`` does not know (but for hostPath,
which is asked for by mistake), and metadata beyond labels and annotations. What else the operator refuses stays, so
that it is refused with the reason.
"""

from __future__ import annotations

import json
import re
import sys

from kubernetes.aio.client import models

from swiftop.api.pod_patch import VOLUMES

Types = dict[str, dict[str, str]]  # of each object: its fields and their types; [X] is a list, {X} a map of texts to X

_ROOT = "PodTemplate"
_LEFT_OUT = {
    "PodSpec": {"ephemeralContainers"},
    "Volume": set(models.V1Volume.attribute_map.values()) - {"name", "hostPath", *VOLUMES},
    "ObjectMeta": set(models.V1ObjectMeta.attribute_map.values()) - {"labels", "annotations"},
}
# Fields that hold quantities: the client's models know them as texts, the API server takes numbers too.
_QUANTITIES = {"limits", "requests", "overhead", "sizeLimit", "divisor"}
_SCALARS = {"str": "text", "int": "int", "bool": "bool", "object": "number or text"}


def pod_fields() -> Types:
    """All objects that a pod template is made of."""
    found: Types = {_ROOT: {"metadata": "ObjectMeta", "spec": "PodSpec"}}
    waiting = ["ObjectMeta", "PodSpec"]
    while waiting:
        name = waiting.pop()
        if name in found:
            continue
        model = getattr(models, f"V1{name}", None) or getattr(models, name)
        fields = {model.attribute_map[attribute]: type_ for attribute, type_ in model.openapi_types.items()}
        kept = {field: type_ for field, type_ in fields.items() if field not in _LEFT_OUT.get(name, set())}
        found[name] = {field: _type(type_, field, waiting) for field, type_ in sorted(kept.items())}
    return dict(sorted(found.items()))


def _type(type_: str, field: str, waiting: list[str]) -> str:
    if listed := re.fullmatch(r"[Ll]ist\[(.+)\]", type_):
        return f"[{_type(listed[1], field, waiting)}]"
    if mapped := re.fullmatch(r"[Dd]ict[\[(]str, (.+)[\])]", type_):
        return f"{{{_type(mapped[1], field, waiting)}}}"
    if type_ in _SCALARS:
        return _SCALARS["object"] if field in _QUANTITIES else _SCALARS[type_]
    waiting.append(type_.removeprefix("V1"))
    return waiting[-1]


def as_text(types: Types) -> str:
    """The file: an object a line."""
    lines = (f"{json.dumps(name)}: {json.dumps(fields)}" for name, fields in types.items())
    return "{\n" + ",\n".join(lines) + "\n}\n"


if __name__ == "__main__":
    sys.stdout.write(as_text(pod_fields()))
