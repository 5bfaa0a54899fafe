"""A change of one object wakes those that wait for it, and no others."""

from __future__ import annotations

from swiftop import names
from swiftop.engine.references import References
from swiftop.model.kind import Key, Reference


def ref(name: str, resource: names.Resource = names.SFTRUN) -> Reference:
    return Reference(resource, "team", name)


def key(name: str, kind: str = "SFTRun") -> Key:
    return Key(kind, "team", name)


def test_who_refers_is_known_until_it_refers_to_something_else_or_is_gone() -> None:
    found = References()
    found.set(key("b"), [ref("a")])
    found.set(key("c"), [ref("a"), ref("x")])
    found.set(key("b"), [ref("a")])  # as each reconcile does
    assert set(found.referring(key("a"))) == {key("b"), key("c")}
    assert found.referring(key("x")) == (key("c"),)
    found.set(key("c"), [ref("x")])
    assert found.referring(key("a")) == (key("b"),)
    found.set(key("b"), [])
    found.forget(key("c"))
    found.forget(key("c"))
    assert (found.referring(key("a")), found.referring(key("x"))) == ((), ())


def test_kinds_and_namespaces_are_told_apart() -> None:
    found = References()
    found.set(key("b"), [ref("a")])
    assert found.referring(key("a", "ModelExport")) == ()
    assert found.referring(Key("SFTRun", "other", "a")) == ()


def test_nothing_is_kept_of_what_is_gone() -> None:
    found = References()
    for number in range(100):
        found.set(key(f"b{number}"), [ref(f"a{number}")])
        found.forget(key(f"b{number}"))
    assert vars(found) == {"_of": {}, "_referring": {}}
