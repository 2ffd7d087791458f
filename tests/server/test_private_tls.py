"""Parties in closed networks: whom the registry asks over TLS, by authorities of their own."""

import json
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from registry.config import OIDCIssuer, ServerSettings, TimestampAuthority
from registry.core.certificates.pem import certificates
from registry.errors import MalformedError, Reason
from registry.remote.http import Answer, HTTPClient
from registry.server.app import open_services
from registry.services.timestamps import AuthorityState
from tests.certificates import PrivateAuthority
from tests.oidc import AUDIENCE, oidc_issuer
from tests.server.http.test_identity import PATH, by_csr
from tests.server.served import SECONDS, served
from tests.stamping import stamping

HERE = "127.0.0.1"
ELSEWHERE = "elsewhere.example"

Believing = Callable[[PrivateAuthority, PrivateAuthority], Path | None]


def ours(ours: PrivateAuthority, _other: PrivateAuthority) -> Path | None:
    return ours.file


def another(_ours: PrivateAuthority, other: PrivateAuthority) -> Path | None:
    return other.file


def the_systems(_ours: PrivateAuthority, _other: PrivateAuthority) -> Path | None:
    return None


WRONG = [
    pytest.param(HERE, the_systems, "verify failed", id="the system's authorities"),
    pytest.param(HERE, another, "verify failed", id="another authority"),
    pytest.param(ELSEWHERE, ours, "not valid for '127.0.0.1'", id="another host's certificate"),
]
"""The host of the certificate, whom the registry believes, and what is said of it."""


def stamped(
    folder: Path, host: str, believing: Believing, *, until: Callable[[AuthorityState], bool]
) -> AuthorityState:
    """How it stands with an authority behind TLS when a condition holds."""
    own, other = PrivateAuthority(folder), PrivateAuthority(folder, "another")
    with ExitStack() as resources:
        server = resources.enter_context(stamping(tls=own.certify(host)))
        (folder / "chain.pem").write_bytes(server.signer.authority.pem)
        settings = ServerSettings(
            folder / "data",
            timestamp_authorities=(TimestampAuthority(server.url, folder / "chain.pem"),),
            timestamp_ca_file=believing(own, other),
        )
        services, _ = resources.enter_context(open_services(settings))
        assert services.timestamps is not None
        ends = time.monotonic() + SECONDS
        while not until(services.timestamps.states[0]):
            assert time.monotonic() < ends, services.timestamps.states
            time.sleep(0.01)
        return services.timestamps.states[0]


def certified(folder: Path, host: str, believing: Believing, *, times: int = 1) -> list[Answer]:
    """What somebody is answered who shows a token of an issuer behind TLS."""
    own, other = PrivateAuthority(folder), PrivateAuthority(folder, "another")
    with (
        oidc_issuer(own.certify(host)) as issuer,
        served(
            folder / "data",
            ca=True,
            oidc_issuers=(OIDCIssuer(issuer.url, AUDIENCE),),
            oidc_ca_file=believing(own, other),
        ) as registry,
        HTTPClient() as client,
    ):
        before = registry.stored()
        answers = [
            client.post(
                registry.url + PATH,
                json.dumps(by_csr()).encode(),
                content_type="application/json",
                headers={"Authorization": f"Bearer {issuer.token()}"},
            )
            for _ in range(times)
        ]
        assert (registry.stored() == before) == (answers[0].status != 200)
        return answers


def test_an_authority_that_stamps_is_believed_by_the_authorities_that_are_named(
    tmp_path: Path,
) -> None:
    state = stamped(tmp_path, HERE, ours, until=lambda state: state.size > 0)
    assert (state.failures, state.reason) == (0, "")


@pytest.mark.parametrize(("host", "believing", "said"), WRONG)
def test_an_authority_that_stamps_is_not_believed_by_any_others(
    tmp_path: Path,
    host: str,
    believing: Believing,
    said: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    state = stamped(tmp_path, host, believing, until=lambda state: state.failures > 0)
    assert (state.reason, state.size) == ("PEER_CERTIFICATE", 0)
    assert said in caplog.text


def test_an_issuer_is_believed_by_the_authorities_that_are_named(tmp_path: Path) -> None:
    (answer,) = certified(tmp_path, HERE, ours)
    assert answer.status == 200
    chain = json.loads(answer.body)["signedCertificateEmbeddedSct"]["chain"]["certificates"]
    assert len(certificates("".join(chain).encode())) == 2


@pytest.mark.parametrize(("host", "believing", "said"), WRONG)
def test_an_issuer_is_not_believed_by_any_others(
    tmp_path: Path, host: str, believing: Believing, said: str
) -> None:
    # The second is not even asked for: the issuer was asked a moment ago.
    for answer in certified(tmp_path, host, believing, times=2):
        assert answer.status == 503
        assert json.loads(answer.body)["reason"] == "PEER_CERTIFICATE"
        assert said in answer.body.decode()


@pytest.mark.parametrize(
    ("settings", "where"),
    [
        ({"timestamp_ca_file": Path("ca.pem")}, "--timestamp-ca-file"),
        ({"oidc_ca_file": Path("ca.pem"), "ca": True}, "--oidc-ca-file"),
        (
            {
                "oidc_ca_file": Path("ca.pem"),
                "ca": True,
                "oidc_issuers": (OIDCIssuer("https://a.example", "me", Path("keys.json")),),
            },
            "--oidc-ca-file",
        ),
    ],
)
def test_authorities_of_parties_that_nobody_asks_are_refused(
    tmp_path: Path, settings: dict[str, Any], where: str
) -> None:
    with (
        pytest.raises(MalformedError) as caught,
        open_services(ServerSettings(tmp_path / "data", **settings)),
    ):
        pass
    assert (caught.value.reason, caught.value.where) == (Reason.BAD_SETTING, where)


@pytest.mark.parametrize("setting", ["timestamp_ca_file", "oidc_ca_file"])
def test_a_file_that_holds_no_authorities_is_refused(tmp_path: Path, setting: str) -> None:
    nothing = tmp_path / "nothing.pem"
    nothing.write_text("nothing")
    changed: dict[str, Any] = {setting: nothing}
    settings = replace(
        ServerSettings(
            tmp_path / "data",
            ca=True,
            oidc_issuers=(OIDCIssuer("https://a.example", "me"),),
            timestamp_authorities=(TimestampAuthority("https://b.example", tmp_path / "c.pem"),),
        ),
        **changed,
    )
    with pytest.raises(MalformedError) as caught, open_services(settings):
        pass
    assert (caught.value.reason, caught.value.where) == (Reason.BAD_SETTING, str(nothing))
