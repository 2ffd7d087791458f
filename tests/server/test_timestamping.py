"""The files of the registry's own timestamp authority."""

import stat
from datetime import UTC, datetime
from pathlib import Path

import pytest

from registry.config import DEFAULT_TSA_POLICY, NO_HTTP, ServerSettings
from registry.core.archive.timestamp import open_response
from registry.core.archive.tsp import Request
from registry.errors import MalformedError, NotFoundError, Reason
from registry.server.app import http_routes, open_services
from registry.server.http.timestamping import PATH
from registry.server.timestamping import (
    CHAIN_FILE,
    KEY_FILE,
    ROOT_KEY_FILE,
    open_signer,
)
from registry.signing.file import load_p256
from registry.signing.timestamping import TimestampSigner, read_chain

NOON = datetime(2026, 6, 1, 12, 0, tzinfo=UTC)
FILES = (ROOT_KEY_FILE, KEY_FILE, CHAIN_FILE)


def opened(folder: Path) -> TimestampSigner:
    return open_signer(folder, "log.example", DEFAULT_TSA_POLICY, NOON)


def test_the_authority_is_the_same_after_a_restart(tmp_path: Path) -> None:
    first, second = opened(tmp_path), opened(tmp_path)
    assert first.authority == second.authority == read_chain(tmp_path / CHAIN_FILE)
    response, _ = second.answer(Request("sha256", bytes(32)).to_bytes(), NOON)
    with pytest.raises(Exception, match="TIMESTAMP_IMPRINT"):
        open_response(response, b"", first.authority)


def test_only_the_chain_may_be_read_by_others(tmp_path: Path) -> None:
    opened(tmp_path)
    modes = {name: stat.S_IMODE((tmp_path / name).stat().st_mode) for name in FILES}
    assert modes == {ROOT_KEY_FILE: 0o600, KEY_FILE: 0o600, CHAIN_FILE: 0o644}


@pytest.mark.parametrize("missing", range(3))
def test_a_first_start_that_died_half_way_goes_on(tmp_path: Path, missing: int) -> None:
    opened(tmp_path)
    for name in FILES[missing:]:
        (tmp_path / name).unlink()
    left = {name: (tmp_path / name).read_bytes() for name in FILES[:missing]}
    signer = opened(tmp_path)
    assert {name: (tmp_path / name).read_bytes() for name in FILES[:missing]} == left
    assert signer.authority == read_chain(tmp_path / CHAIN_FILE)


def test_a_key_that_is_lost_is_not_made_again(tmp_path: Path) -> None:
    opened(tmp_path)
    (tmp_path / KEY_FILE).unlink()
    with pytest.raises(NotFoundError) as caught:
        opened(tmp_path)
    assert caught.value.reason is Reason.KEY_LOST
    assert "log retire tsa" in caught.value.hint
    assert not (tmp_path / KEY_FILE).exists()


def test_another_key_beside_the_chain_is_refused(tmp_path: Path) -> None:
    opened(tmp_path)
    (tmp_path / KEY_FILE).write_bytes((tmp_path / ROOT_KEY_FILE).read_bytes())
    with pytest.raises(MalformedError) as caught:
        opened(tmp_path)
    assert caught.value.reason is Reason.TIMESTAMP_AUTHORITY


def test_a_chain_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MalformedError) as caught:
        read_chain(tmp_path / "none.pem")
    assert caught.value.reason is Reason.BAD_SETTING


def test_timestamps_are_off_by_default(tmp_path: Path) -> None:
    with open_services(ServerSettings(tmp_path)) as (services, _):
        assert services.stamping is None
        with pytest.raises(Exception, match="UNKNOWN_PATH"):
            http_routes(services).find("POST", PATH)
    assert not (tmp_path / "keys" / KEY_FILE).exists()


def test_timestamps_are_answered_with_keys_of_their_own(tmp_path: Path) -> None:
    with open_services(ServerSettings(tmp_path, tsa=True)) as (services, _):
        http_routes(services).find("POST", PATH)
    keys = tmp_path / "keys"
    pems = {name: (keys / name).read_bytes() for name in (ROOT_KEY_FILE, KEY_FILE)}
    others = {path.read_bytes() for path in keys.iterdir() if path.name not in pems}
    assert len(set(pems.values()) | others) == len(pems) + len(others)
    load_p256(keys / KEY_FILE)


def test_timestamps_without_http_are_refused(tmp_path: Path) -> None:
    settings = ServerSettings(tmp_path, tsa=True, http=NO_HTTP)
    with pytest.raises(MalformedError) as caught, open_services(settings):
        pass
    assert caught.value.reason is Reason.BAD_SETTING
