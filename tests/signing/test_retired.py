"""Names of retired keys."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.errors import MalformedError
from registry.signing.retired import read_retired_name, retired_name


@given(
    st.sampled_from(["ca-chain.pem", "ct.pem.pub", "tsa-chain.pem"]),
    st.datetimes(min_value=datetime(2000, 1, 1), max_value=datetime(2200, 1, 1)),  # noqa: DTZ001
)
def test_a_name_says_what_and_until_when(public: str, end: datetime) -> None:
    at = end.replace(microsecond=0, tzinfo=UTC)
    assert read_retired_name(retired_name(public, at)) == (public, at)


@pytest.mark.parametrize(
    "name",
    [
        "",
        "ca-chain.pem",
        "ca-chain.pem.until-",
        "ca-chain.pem.until-20260301",
        "ca-chain.pem.until-20260230T120000Z",
        "ca-chain.pem.until-20260301T120000",
        "ca-chain.pem.until-2026031T120000Z",
        "ca-chain.pem.until-٢0260301T120000Z",
        "ca-chain.pem.until-20260301T120000Z.until-20260301T120000Z",
    ],
)
def test_another_name_is_refused(name: str) -> None:
    with pytest.raises(MalformedError):
        read_retired_name(name)
