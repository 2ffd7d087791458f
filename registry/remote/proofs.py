"""Asks another system for what proves an answer, for as long as it still has it.

=============  ===================================================================================
aci            ``/v1/aci/receipts/ID``, ``/v1/aci/attestation?nonce=``, ``/v1/aci/sessions/ID``
near           ``/v1/signature/ID?signing_algo=`` of both kinds, ``/v1/attestation/report?nonce=``
opengradient   ``/signing-key``, ``/enclave/attestation?nonce=``
=============  ===================================================================================

Only the host that was named is asked, over TLS unless it is this machine, and no redirection is
followed: what an answer says leads to ids in paths of this form, never to another address. Bytes
stay as they came; but a document of AWS Nitro, which is served as base64, becomes what it says, and
of the answer about an OpenGradient key its PEM is kept. Nothing is judged here.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Final
from urllib.parse import quote, urlencode

from registry.core import encoding
from registry.core.evidence.checks import CheckError
from registry.core.foreign.aci.documents import Receipt
from registry.core.foreign.captured import MAX_PART_BYTES, Captured, PartRole
from registry.core.foreign.near.documents import Signed
from registry.core.foreign.proof import System
from registry.core.foreign.spelling import MAX_DEPTH
from registry.core.profiles.sse import EventReader
from registry.errors import MalformedError, Reason, RegistryError, UnavailableError
from registry.remote.http import HTTPClient, check_private

REQUEST_TIMEOUT: Final = timedelta(seconds=15)
"""For one question: a report may wait for the hardware."""

MAX_ID_CHARACTERS: Final = 256
"""Characters of the id of an answer."""

MAX_SESSIONS: Final = 16
"""Sessions that are fetched of those that a receipt cites."""

NONCE_BYTES: Final[Mapping[System, int]] = {
    System.ACI: 32,
    System.NEAR: 32,
    System.OPENGRADIENT: 20,
}
"""Bytes of the nonce that each system takes; those that are missing here hand out no proofs."""

_PEM: Final = "-----BEGIN PUBLIC KEY-----"


@dataclass(slots=True)
class Fetched:
    """What a system handed out.

    Attributes:
        parts: The bytes in each role, in the order in which they came.
        missed: What it did not hand out, and why.
    """

    parts: list[tuple[PartRole, bytes]] = field(default_factory=list)
    missed: list[str] = field(default_factory=list)
    failures: list[RegistryError] = field(default_factory=list)


class ProofService:
    """One system that hands out proofs."""

    def __init__(self, http: HTTPClient, url: str, token: str = "") -> None:
        """Ask nothing yet.

        Args:
            http: Asks.
            url: Where the system is, without a path of the table above.
            token: Lets in whoever asked the question; told to this host only.

        Raises:
            MalformedError: ``BAD_SETTING`` if the address is none, or not private.
        """
        check_private(url)
        self._http = http
        self._url = url.rstrip("/")
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}

    def fetch(
        self, system: System, captured: Captured, nonce: bytes, answer_id: str = ""
    ) -> Fetched:
        """Ask for everything that proves an answer.

        Args:
            system: Which paths to ask.
            captured: What is at hand: the response names the answer.
            nonce: For evidence to be fresh; :data:`NONCE_BYTES` of it.
            answer_id: Names the answer; empty for the id in the response.

        Raises:
            MalformedError: ``BAD_SETTING`` for a system that hands out nothing, or a nonce that it
                does not take; ``FOREIGN_PART`` if nothing names the answer.
            RegistryError: Not one question was answered: why the first was not.
        """
        size = NONCE_BYTES.get(system)
        if size is None or len(nonce) != size:
            raise MalformedError(
                Reason.BAD_SETTING,
                "nothing can be fetched of this system"
                if size is None
                else "this system takes nonces of another length",
                where=system,
                expected=", ".join(NONCE_BYTES) if size is None else f"{size} bytes",
                actual=f"{len(nonce)} bytes",
            )
        fetched = Fetched()
        match system:
            case System.ACI:
                self._aci(fetched, nonce, answer_id or _id_of(captured))
            case System.NEAR:
                self._near(fetched, nonce, answer_id or _id_of(captured), captured)
            case _:
                self._opengradient(fetched, nonce)
        if not fetched.parts and fetched.failures:
            raise fetched.failures[0]
        return fetched

    def _aci(self, fetched: Fetched, nonce: bytes, answer_id: str) -> None:
        data = self._ask(fetched, PartRole.RECEIPT, f"/v1/aci/receipts/{_quoted(answer_id)}")
        self._ask(fetched, PartRole.REPORT, "/v1/aci/attestation", {"nonce": nonce.hex()})
        cited: dict[str, None] = {}
        with suppress(CheckError):
            if data is not None:
                named = (item.session_id for item in Receipt.parse(data).upstream())
                cited = dict.fromkeys(item for item in named if item is not None)
        for session in list(cited)[:MAX_SESSIONS]:
            self._ask(fetched, PartRole.SESSION, f"/v1/aci/sessions/{session}")

    def _near(self, fetched: Fetched, nonce: bytes, answer_id: str, captured: Captured) -> None:
        model = next((item["model"] for item in _objects(captured) if "model" in item), None)
        named = {"model": str(model)} if _is_text(model) else {}
        path = f"/v1/signature/{_quoted(answer_id)}"
        for algorithm in ("ed25519", "ecdsa"):
            asked = {**named, "signing_algo": algorithm}
            data = self._ask(fetched, PartRole.SIGNATURE, path, asked)
            if data is None:
                continue
            with suppress(CheckError):
                asked["signing_address"] = Signed.parse(data).said.signing_address
            asked["nonce"] = nonce.hex()
            self._ask(fetched, PartRole.REPORT, "/v1/attestation/report", asked)

    def _opengradient(self, fetched: Fetched, nonce: bytes) -> None:
        self._ask(fetched, PartRole.KEY, "/signing-key", read=_pem)
        path, asked = "/enclave/attestation", {"nonce": nonce.hex()}
        self._ask(fetched, PartRole.EVIDENCE, path, asked, read=_document)

    def _ask(
        self,
        fetched: Fetched,
        role: PartRole,
        path: str,
        query: Mapping[str, str] | None = None,
        read: Callable[[bytes], bytes] = bytes,
    ) -> bytes | None:
        """Ask for one part; what was handed out, or None."""
        url = f"{self._url}{path}" + (f"?{urlencode(query)}" if query else "")
        try:
            answer = self._http.get(url, max_bytes=MAX_PART_BYTES, headers=self._headers)
            data = read(answer.expect().body)
        except RegistryError as error:
            fetched.failures.append(error)
            algorithm = (query or {}).get("signing_algo", "")
            fetched.missed.append(f"{role} {algorithm}".strip() + f": {_why(error)}")
            return None
        if (role, data) not in fetched.parts:
            fetched.parts.append((role, data))
        return data


def _why(error: RegistryError) -> str:
    return error.actual if error.reason is Reason.REMOTE_STATUS else f"{error.reason} {error.what}"


def _id_of(captured: Captured) -> str:
    for item in _objects(captured):
        if _is_text(item.get("id")):
            return str(item["id"])
    raise MalformedError(
        Reason.FOREIGN_PART,
        "nothing names the answer that is to be proven",
        expected="a response with an id, or its id by itself",
        actual=", ".join(captured.parts) or "nothing",
    )


def _objects(captured: Captured) -> Iterator[Mapping[str, Any]]:
    """The JSON objects of a response: its body, or the events of its stream."""
    response = captured.one(PartRole.RESPONSE) or b""
    bodies = [response]
    if not response.lstrip().startswith(b"{"):
        with suppress(RegistryError):
            bodies = [event.data for event in EventReader().feed(response)]
    for body in bodies:
        with suppress(MalformedError):
            value = encoding.read_foreign_numbers(body, what="response", max_depth=MAX_DEPTH)
            if isinstance(value, dict):
                yield value


def _is_text(value: object) -> bool:
    return isinstance(value, str) and not isinstance(value, encoding.Number) and bool(value)


def _quoted(answer_id: str) -> str:
    """An id as one segment of a path, whatever is in it."""
    if not answer_id.isprintable() or not 0 < len(answer_id) <= MAX_ID_CHARACTERS:
        raise MalformedError(
            Reason.FOREIGN_PART,
            "this is no id of an answer",
            expected=f"1 to {MAX_ID_CHARACTERS} printable characters",
            actual=ascii(answer_id)[:80],
        )
    if not answer_id.strip("."):
        # A path of dots would mean another one.
        return answer_id.replace(".", "%2E")
    return quote(answer_id, safe="")


def _pem(body: bytes) -> bytes:
    """The key in an answer: the PEM itself, or the only one among its members."""
    if body.lstrip().startswith(_PEM.encode()):
        return body
    value: object = None
    with suppress(MalformedError):
        value = encoding.read_foreign_numbers(body, what="signing key")
    members = value.values() if isinstance(value, dict) else ()
    found = [item for item in members if isinstance(item, str) and item.lstrip().startswith(_PEM)]
    if len(found) != 1:
        raise _strange("a public key as PEM", f"{len(found)} of them")
    return found[0].encode()


def _document(body: bytes) -> bytes:
    """The document in an answer, which is base64 of it."""
    try:
        return encoding.base64_bytes(body.strip().decode("ascii"))
    except (MalformedError, UnicodeDecodeError) as error:
        raise _strange("a document in base64", f"{len(body)} bytes") from error


def _strange(expected: str, actual: str) -> UnavailableError:
    return UnavailableError(
        Reason.REMOTE_STATUS,
        "a remote party did not do what it was asked",
        expected=expected,
        actual=actual,
    )
