"""Each file operation of an upload over HTTP fails, or is the last: whole, or not there.

Each case is one registry on the data that the case before it left behind: whatever was ever
acknowledged is still there, nothing that half arrived is, and what was refused can be sent again.
"""

import errno
import hashlib
import http.client
import itertools
import os
from collections.abc import Callable, Iterator
from functools import partial

import grpc
import pytest

from registry.api.v1 import artifact_pb2, artifact_service_pb2_grpc
from registry.api.v1 import artifact_service_pb2 as pb
from registry.core.digest import sha256, text
from registry.disk import WIDE_BUFFER_BYTES as BUFFER_BYTES
from tests.crash import inject
from tests.crash.inject import WRITES, Strike
from tests.crash.test_faults import Victim, harmed
from tests.running import Caller
from tests.server.http.facing import Address, ask

pytestmark = pytest.mark.skipif(
    inject.available() is not None, reason=f"no faults can be injected: {inject.available()}"
)

MOST_OPERATIONS = 60
"""File operations of one upload, at most; more would be another design."""

SECONDS = 20
"""How long anything may take."""

SIZES = {"small": 1000, "large": BUFFER_BYTES + 8192 + 5}


_numbers = itertools.count()


class Uploader:
    """Sends one new blob after the other, and remembers which were taken.

    Attributes:
        stored: Digests of what was acknowledged.
        calls: Which system calls are counted; None for all.
    """

    def __init__(self, victim: Victim, size: int) -> None:
        self.victim = victim
        self.size = size
        self.stored: set[bytes] = set()
        self.calls: frozenset[str] | None = None

    @property
    def write(self) -> str:
        """The system call that writes such blobs."""
        return "write" if self.size == SIZES["small"] else "pwrite64"

    def arm(
        self, strike: Strike, nth: int, number: int = errno.EIO, *, lasting: bool = False
    ) -> None:
        """Strike at the n-th operation from here."""
        calls = WRITES if strike is Strike.SHORTEN else self.calls
        self.victim.injector.arm(nth=nth, errno=number, lasting=lasting, calls=calls, strike=strike)

    def disarm(self) -> str | None:
        """Let every operation pass; what was hit."""
        self.victim.injector.disarm()
        hit = self.victim.injector.hit
        return hit and f"{hit.name} {os.path.relpath(hit.path, self.victim.data)}"

    def next(self) -> bytes:
        """A blob that nobody has."""
        return b"%d" % next(_numbers) + bytes(self.size)

    def prepare(self, address: str, data: bytes) -> tuple[Address, dict[str, str]]:
        """Where a blob may be sent, and with which headers."""
        with grpc.insecure_channel(address) as channel:
            header = artifact_pb2.UploadHeader(sha256=sha256(data), size=len(data))
            told = artifact_service_pb2_grpc.ArtifactServiceStub(channel).OpenUpload(
                pb.OpenUploadRequest(header=header),
                metadata=self.victim.acme.metadata,
                timeout=SECONDS,
            )
        headers = {
            "authorization": f"Bearer {told.http.ticket}",
            "content-type": "application/octet-stream",
        }
        return ("127.0.0.1", told.http.port), headers

    def send(self, place: tuple[Address, dict[str, str]], data: bytes) -> str:
        """Send a blob; why it was not taken, empty if it was."""
        where, headers = place
        try:
            answer = ask(where, "PUT", f"/blobs/{text(sha256(data))}", data, headers)
        except (OSError, http.client.HTTPException):
            return "UNREACHABLE"
        if answer.status in (http.client.OK, http.client.CREATED):
            self.stored.add(sha256(data))
            return ""
        return answer.reason

    def check(self, address: str) -> None:
        """All that was acknowledged is there, and what is there is whole."""
        blobs = self.victim.data / "blobs"
        for path in (blobs / "sha256").glob("*/*"):
            assert hashlib.sha256(path.read_bytes()).hexdigest() == path.name
        missing = find_missing(address, self.victim.acme, [*self.stored])
        assert missing == []

    def check_nothing_arrives(self) -> None:
        """Nothing is left of what did not arrive."""
        assert not list((self.victim.data / "blobs" / "incoming").iterdir())

    def check_refused(self, address: str, data: bytes) -> None:
        """What was refused is not listed."""
        missing = find_missing(address, self.victim.acme, [sha256(data)])
        assert missing == [sha256(data)]


def find_missing(address: str, caller: Caller, digests: list[bytes]) -> list[bytes]:
    """Which blobs are not listed."""
    with grpc.insecure_channel(address) as channel:
        answer = artifact_service_pb2_grpc.ArtifactServiceStub(channel).FindMissing(
            pb.FindMissingRequest(sha256=digests), metadata=caller.metadata, timeout=SECONDS
        )
    return list(answer.missing)


@pytest.fixture(scope="module")
def victim(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Victim]:
    """Have one registry that can be harmed, for all tests."""
    with harmed(tmp_path_factory.mktemp("victim") / "data") as made:
        yield made


@pytest.fixture(params=SIZES, ids=str)
def uploader(victim: Victim, request: pytest.FixtureRequest) -> Uploader:
    """Somebody who sends blobs of one size."""
    return Uploader(victim, SIZES[request.param])


def fail_each(uploader: Uploader, number: int, *, lasting: bool) -> list[str]:
    """Fail each operation of one upload in turn; what was hit."""
    hits: list[str] = []
    with uploader.victim.running() as address:
        for nth in range(1, MOST_OPERATIONS):
            data = uploader.next()
            place = uploader.prepare(address, data)
            uploader.arm(Strike.FAIL, nth, number, lasting=lasting)
            reason = uploader.send(place, data)
            hit = uploader.disarm()
            if reason:
                # Whoever still sends may find the connection closed before it reads why.
                assert reason == "STORAGE_FAILED" or len(data) > BUFFER_BYTES
                uploader.check(address)
                uploader.check_refused(address, data)
                # A disk that lets nothing be removed keeps it until the next start.
                if not lasting:
                    uploader.check_nothing_arrives()
            if hit is None:
                assert reason == ""
                return hits
            hits.append(hit)
            # What failed once may be sent again.
            assert uploader.send(place, data) == ""
    pytest.fail(f"one upload takes more than {MOST_OPERATIONS} operations: {hits}")


def disturb_each(uploader: Uploader, strike: Strike) -> list[str]:
    """Disturb each operation of one upload in turn, which must do no harm; what was hit."""
    hits: list[str] = []
    with uploader.victim.running() as address:
        for nth in range(1, MOST_OPERATIONS):
            data = uploader.next()
            place = uploader.prepare(address, data)
            uploader.arm(strike, nth)
            assert uploader.send(place, data) == ""
            hit = uploader.disarm()
            if hit is None:
                return hits
            hits.append(hit)
    pytest.fail(f"one upload takes more than {MOST_OPERATIONS} operations: {hits}")


def kill_at_each(uploader: Uploader) -> list[str]:
    """Kill the registry before each operation of one upload in turn; what was hit."""
    hits: list[str] = []
    lost: bytes | None = None
    for nth in range(1, MOST_OPERATIONS):
        with uploader.victim.running() as address:
            uploader.check(address)
            uploader.check_nothing_arrives()
            if lost is not None:
                assert uploader.send(uploader.prepare(address, lost), lost) == ""
            lost = uploader.next()
            place = uploader.prepare(address, lost)
            uploader.arm(Strike.KILL, nth)
            reason = uploader.send(place, lost)
            hit = uploader.disarm()
        if hit is None:
            assert reason == ""
            return hits
        hits.append(hit)
    pytest.fail(f"one upload takes more than {MOST_OPERATIONS} operations: {hits}")


def strike_each(uploader: Uploader, each: Callable[[], list[str]]) -> None:
    """Strike at each operation of one upload in turn, and at each call that matters at least once.

    Some blobs are the first of their folder, which takes more operations, so that counting may pass
    over a call.
    """
    hits = each()
    for missed in sorted({"openat", uploader.write, "fsync", "rename"} - calls_of(hits)):
        uploader.calls = frozenset([missed])
        assert missed in calls_of(each()), missed
        uploader.calls = None


def calls_of(hits: list[str]) -> set[str]:
    """Which system calls were hit on the blob itself."""
    return {
        hit.split()[0].removesuffix("at2") for hit in hits if hit.split()[1].startswith("blobs")
    }


def check_all(uploader: Uploader) -> None:
    """After the next start all is there, and nothing else."""
    with uploader.victim.running() as address:
        uploader.check(address)
        uploader.check_nothing_arrives()


@pytest.mark.parametrize(
    ("number", "lasting"),
    [(errno.EIO, False), (errno.ENOSPC, False), (errno.ENOSPC, True)],
    ids=["EIO", "ENOSPC", "full-disk"],
)
def test_an_upload_whose_file_operation_fails_stores_nothing(
    uploader: Uploader, number: int, *, lasting: bool
) -> None:
    strike_each(uploader, partial(fail_each, uploader, number, lasting=lasting))
    check_all(uploader)


def test_an_upload_that_is_killed_is_whole_or_not_there(uploader: Uploader) -> None:
    strike_each(uploader, partial(kill_at_each, uploader))


@pytest.mark.parametrize("strike", [Strike.STOP, Strike.SHORTEN])
def test_an_upload_that_is_disturbed_is_stored(uploader: Uploader, strike: Strike) -> None:
    hits = disturb_each(uploader, strike)
    check_all(uploader)
    assert uploader.write in calls_of(hits), hits
