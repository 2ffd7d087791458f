"""What may be held of an answer before it goes out."""

import pytest

from registry.shim.proxies.passage import MAX_HELD_BYTES, Passage


@pytest.mark.parametrize("kind", ["chat", "text", "tensor", "events", "bytes"])
@pytest.mark.parametrize(("more", "held"), [(0, True), (1, False)])
def test_only_what_is_small_is_held_whole(kind: str, more: int, *, held: bool) -> None:
    headers = {"content-length": str(MAX_HELD_BYTES + more), "content-type": "application/json"}
    passage = Passage(kind, headers, 200, strict=True)  # type: ignore[arg-type]  # one of its names
    assert passage.is_document is held


@pytest.mark.parametrize(("kind", "held"), [("chat", True), ("events", False), ("bytes", False)])
def test_of_what_announces_no_length_only_documents_are_held(kind: str, *, held: bool) -> None:
    passage = Passage(kind, {}, 200, strict=True)  # type: ignore[arg-type]  # one of its names
    assert passage.is_document is held
