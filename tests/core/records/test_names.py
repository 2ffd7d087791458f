"""Names, versions, and the namespaces that cover them."""

import pytest

from registry.core.records.names import (
    check_name,
    check_namespace,
    check_principal,
    check_version,
    covers,
    split_reference,
)
from registry.errors import MalformedError, Reason

LONG = "a" * 64


@pytest.mark.parametrize("name", ["acme/x", "a/b", "a.b-c_d/e.f", f"{LONG}/{LONG}", "0/1"])
def test_a_name_is_namespace_and_name(name: str) -> None:
    check_name(name)


@pytest.mark.parametrize(
    "name",
    [
        "",
        "x",
        "/x",
        "acme/",
        "acme/x/y",
        "Acme/x",
        "acme/X",
        "acme /x",
        "acme/x\n",
        ".acme/x",
        "acme/x.",
        "acme/../x",
        "acme/é",
        "acme/x@1",
        "acme/*",
        f"a{LONG}/x",
    ],
)
def test_anything_else_is_no_name(name: str) -> None:
    with pytest.raises(MalformedError) as caught:
        check_name(name)
    assert caught.value.reason is Reason.MALFORMED_NAME


@pytest.mark.parametrize("version", ["1", "1.2.0", "v1", "2026-08-01", "1.0+cu12", "A_b"])
def test_a_version_may_follow_any_scheme(version: str) -> None:
    check_version(version)


@pytest.mark.parametrize("version", ["", "-1", "1-", "1/2", "1 2", "1@2", "é", "1\n", "a" * 129])
def test_anything_else_is_no_version(version: str) -> None:
    with pytest.raises(MalformedError):
        check_version(version)


@pytest.mark.parametrize("pattern", ["*", "acme/*", "acme/x"])
def test_a_namespace_is_everything_or_one_level_or_one_name(pattern: str) -> None:
    check_namespace(pattern)


@pytest.mark.parametrize("pattern", ["", "**", "acme", "acme/**", "*/x", "acme/x*", "ac*/x", "/*"])
def test_anything_else_is_no_namespace(pattern: str) -> None:
    with pytest.raises(MalformedError):
        check_namespace(pattern)


@pytest.mark.parametrize("name", ["", "A", "a b", "a/b", "-a", "a\n", "a" * 65])
def test_anything_else_is_no_principal(name: str) -> None:
    with pytest.raises(MalformedError):
        check_principal(name)


@pytest.mark.parametrize(
    ("pattern", "name", "expected"),
    [
        ("*", "acme/x", True),
        ("acme/*", "acme/x", True),
        ("acme/*", "acme2/x", False),
        ("acme/*", "acm/x", False),
        ("acme/x", "acme/x", True),
        ("acme/x", "acme/xy", False),
    ],
)
def test_a_namespace_covers_names_below_it_only(pattern: str, name: str, expected: bool) -> None:
    assert covers(pattern, name) is expected


def test_a_reference_is_split_at_the_at_sign() -> None:
    assert split_reference("acme/x@1.2.0") == ("acme/x", "1.2.0")


@pytest.mark.parametrize("reference", ["", "acme/x", "acme/x@", "@1", "acme/x@1@2"])
def test_what_is_no_reference_is_refused(reference: str) -> None:
    with pytest.raises(MalformedError):
        split_reference(reference)


@pytest.mark.parametrize("reference", ["", "acme/x", "acme/x@", "x"])
def test_a_reference_without_a_version_says_that_it_lacks_one(reference: str) -> None:
    with pytest.raises(MalformedError) as caught:
        split_reference(reference)
    error = caught.value
    assert (error.reason, error.what) == (Reason.MALFORMED_NAME, "this names no version")
    assert error.expected == "namespace/name@version, such as acme/x@1.2.0"
    assert error.actual == repr(reference)
    assert "provreg model list" in error.hint
