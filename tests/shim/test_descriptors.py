"""Connections leave the journal its files."""

import resource

import pytest

from registry.shim import descriptors


@pytest.mark.parametrize(
    ("soft", "allowed"), [(1024, 448), (200, 36), (10, 1), (10**6, 500), (-1, 500)]
)
def test_there_are_only_as_many_connections_as_leave_a_reserve(
    monkeypatch: pytest.MonkeyPatch, soft: int, allowed: int
) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (soft, soft))
    assert descriptors.connections(500) == allowed


def test_the_limit_is_raised_as_far_as_the_system_allows(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[int, int]] = []
    monkeypatch.setattr(resource, "getrlimit", lambda _: (100, 4000))
    monkeypatch.setattr(resource, "setrlimit", lambda _, both: asked.append(both))
    descriptors.raise_limit()
    assert asked == [(4000, 4000)]


def test_a_limit_that_may_not_be_raised_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError

    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    monkeypatch.setattr(resource, "setrlimit", refuse)
    descriptors.raise_limit()
    assert resource.getrlimit(resource.RLIMIT_NOFILE) == before
