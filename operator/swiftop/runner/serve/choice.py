"""Whose server is started: ms-swift's own, or the engine's where that gives the model the same prompts. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from ..protocol import NATIVE, SWIFT, ServeSettings
from .own_servers import OWN_SERVERS

ASKED, EQUAL, MADE_EQUAL = "Asked", "TemplateEqual", "TemplateMadeEqual"
DIFFERS, UNKNOWN = "TemplateDiffers", "TemplateUnknown"


@dataclass(frozen=True)
class Choice:
    """What is started, and why."""

    settings: ServeSettings  # with folders in the place of ids, where they are known
    word: str
    why: str
    prompt: Mapping[str, Any]

    @property
    def server(self) -> str:
        """Swift or Native."""
        return self.settings.server

    @property
    def text(self) -> str:
        """For the log."""
        whose = f"the own server of {self.settings.engine}" if self.server == NATIVE else "ms-swift's own server"
        return f"served by {whose} ({self.word})" + (f": {self.why}" if self.why else "")


def needs_check(settings: ServeSettings) -> bool:
    """Whether the prompts have to be compared first."""
    return settings.server != SWIFT and not settings.swift_only


def choose(settings: ServeSettings, prompt: Mapping[str, Any]) -> Choice:
    """By what the check has found; empty when there was none, or it came to nothing."""
    if not needs_check(settings):
        return Choice(replace(settings, server=SWIFT), settings.swift_only or ASKED, "", {})
    word, why = _judged(settings, prompt)
    if word not in (EQUAL, MADE_EQUAL):
        return Choice(replace(settings, server=SWIFT), word, why, {})
    return Choice(_with_folders(settings, prompt.get("folders") or {}), word, why, prompt)


def _judged(settings: ServeSettings, prompt: Mapping[str, Any]) -> tuple[str, str]:
    equal, difference = prompt.get("equal"), prompt.get("difference")
    if equal and not difference:
        return EQUAL, "the model's chat template gives the same prompts as ms-swift"
    if equal and OWN_SERVERS[settings.engine].chat_template:
        return MADE_EQUAL, "a chat template was made that gives the same prompts as ms-swift"
    if difference:
        return DIFFERS, f"the chat template gives other prompts than ms-swift: {difference}"
    return UNKNOWN, f"the prompts cannot be compared: {prompt.get('unknown') or 'the check has failed'}"


def _with_folders(settings: ServeSettings, folders: Mapping[str, str]) -> ServeSettings:
    model = folders.get(settings.model, settings.model)
    at = settings.native.index(settings.model)  # it comes first: other words may be the same
    return replace(
        settings,
        server=NATIVE,
        model=model,
        native=(*settings.native[:at], model, *settings.native[at + 1 :]),
        adapters=tuple(replace(one, path=folders.get(one.path, one.path)) for one in settings.adapters),
    )
