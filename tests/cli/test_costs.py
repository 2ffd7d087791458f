"""``provreg costs``: what verification cost, in a table or for machines."""

import pytest

from registry.core.records.costs import SUMS
from tests.cli.conftest import Place, Shell
from tests.replaying import recording
from tests.shim.world import call


@pytest.fixture(scope="session")
def recorded(place: Place, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A version of which a shim has recorded three calls."""
    name = "acme/costly"
    folder = tmp_path_factory.mktemp("costs")
    files = {"weights.bin": b"weights"}
    with recording(place.running, folder, files, place.publisher, place.node, name=name) as world:
        for number in range(3):
            call(world.shim.recorder, b"%d" % number)
        world.shim.flush(30)
    return name


def test_costs_are_shown_by_day_model_and_level(acme: Shell, recorded: str) -> None:
    # The calls of this shim name a release that nobody registered, as records may.
    assert recorded
    said = acme("costs", "--model", "acme/x@1.2.0", "--json")
    assert said.status == 0, said
    [row] = said.value["costs"]
    assert (row["model"], row["level"], row["calls"]) == ("acme/x@1.2.0", "logged", 3)
    assert row["untimed"] == 3
    # Every member is there, also where there was nothing to sum.
    assert sorted(row) == sorted([*SUMS, "day", "model", "level"])
    assert row["missed"] == 0
    assert said.value["records"] > 6
    again = acme("costs", "--model", "acme/x@1.2.0", "--recompute", "--json")
    assert again.value["costs"] == said.value["costs"]
    table = acme("costs", "--model", "acme/x").out.splitlines()
    assert table[0].split()[:4] == ["day", "model", "level", "calls"]
    assert table[1].split()[1:4] == ["acme/x@1.2.0", "logged", "3"]
    later = acme("costs", "--model", "acme/x", "--since", "2999-01-01")
    assert len(later.out.splitlines()) == 2


@pytest.mark.parametrize(
    ("more", "status"),
    [(("--model", "nonsense"), 1), (("--model", "acme/x@"), 1), (("--since", "yesterday"), 2)],
    ids=["model", "version", "time"],
)
def test_a_question_that_makes_no_sense_is_refused(
    acme: Shell, more: tuple[str, ...], status: int
) -> None:
    assert acme("costs", *more).status == status
