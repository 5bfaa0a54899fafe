"""Several objects at once, each acted on when it has come so far, and looked at until all have ended."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

from tests.e2e.site import Site, condition
from tests.e2e.support import Object, eventually

KINDS = "sftruns,modelexports,datasetuploads,modeldeployments"
ENDS = ("True", "False")

Now = Mapping[str, Object]  # all objects by their name, as they are
Act = Callable[[Now, Collection[str]], bool]  # tries to do something, knowing what is held; whether it is done


@dataclass(frozen=True)
class Story:
    """One object and what is done to it, one after the other; no two objects have one name."""

    name: str
    make: Callable[[Now], Object]
    acts: tuple[Act, ...] = ()
    after: tuple[str, ...] = ()  # is applied when these have succeeded
    serves: bool = False  # it never ends: the story is over with the last act


History = dict[str, list[Object]]  # every state in which each was seen, oldest first


def watch(site: Site, stories: tuple[Story, ...], held: Callable[[], Collection[str]], *, seconds: float) -> History:
    """Apply all, and act on them until each has ended and nothing is left to do. ``held`` is asked in each round."""
    history: History = {story.name: [] for story in stories}
    waiting = list(stories)
    acts = {story.name: list(story.acts) for story in stories}
    ending = [story.name for story in stories if not story.serves]

    def over() -> bool:
        now = {found["metadata"]["name"]: found for found in site.kubectl.items(KINDS)}
        for story in [story for story in waiting if all(_succeeded(now, name) for name in story.after)]:
            waiting.remove(story)
            site.kubectl.apply(story.make(now))
        for name, states in history.items():
            found = now.get(name, {})
            if "status" in found and found not in states[-1:]:
                states.append(found)
        keeps = held()
        for name, left in acts.items():
            if name in now and left and left[0](now, keeps):
                del left[0]
        return not waiting and not any(acts.values()) and all(_ended(now, name) for name in ending)

    eventually(over, what="all end", seconds=seconds, explain=lambda: "\n".join(_told(site, history, acts)))
    return history


def _ended(now: Now, name: str) -> bool:
    return condition(now.get(name, {}), "Succeeded").get("status") in ENDS


def _succeeded(now: Now, name: str) -> bool:
    return condition(now.get(name, {}), "Succeeded").get("status") == "True"


def _told(site: Site, history: History, acts: Mapping[str, list[Any]]) -> list[str]:
    """Of what has not ended, or ended too early, all that helps."""
    left = [name for name in history if acts[name] or not history[name] or not _ended({name: history[name][-1]}, name)]
    return [f"{name} ({len(acts[name])} acts left)\n{site.story(name)}" for name in left]


def reasons(states: list[Object], type_: str) -> list[str]:
    """Reasons that a condition had, one after the other."""
    found = [condition(state, type_).get("reason", "") for state in states]
    return [reason for before, reason in zip(["", *found], found, strict=False) if reason != before]
