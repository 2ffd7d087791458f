"""What is wanted crosses the wire unchanged."""

from hypothesis import given
from hypothesis import strategies as st

from registry.core.records.wanted import Wanted
from registry.core.tlog.selection import Selection
from registry.wire.watching import wanted_from_proto, wanted_to_proto

TEXTS = st.frozensets(st.text(max_size=8), max_size=4)
DIGESTS = st.frozensets(st.binary(min_size=32, max_size=32), max_size=4)
HEX = DIGESTS.map(lambda items: frozenset(item.hex() for item in items))
WANTED = st.builds(Wanted, st.builds(Selection, TEXTS, TEXTS, HEX, DIGESTS), TEXTS, TEXTS, HEX)


@given(wanted=WANTED, start=st.integers(0, 2**63 - 1), until_newest=st.booleans())
def test_what_is_wanted_is_read_back(wanted: Wanted, start: int, *, until_newest: bool) -> None:
    message = wanted_to_proto(wanted, start, until_newest=until_newest)
    assert (message.start, message.until_newest) == (start, until_newest)
    assert wanted_from_proto(message) == wanted
