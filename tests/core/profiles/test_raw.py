"""The profile for bytes."""

from registry.core.profiles import raw


def test_the_vector_holds() -> None:
    assert raw.content_digest(b"hello").hex() == (
        "c245484da6dab3bca1728b7f76e6f175d8d80229efc2cb3638ac79b92a627ac3"
    )


def test_the_digest_is_not_that_of_the_bytes_alone() -> None:
    empty = raw.content_digest(b"")
    assert empty.hex() != "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
