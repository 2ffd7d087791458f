"""Any log that publishes C2SP tlog-tiles over HTTP, read with every byte verified.

Full tiles are asked for wherever the tree has them. An incomplete tile that has gone, because the
full one is there by now, is cut from the full one, as https://c2sp.org/tlog-tiles allows.
"""

from collections.abc import Iterator
from typing import Final

from registry.core.digest import SHA256_SIZE
from registry.core.tlog import entry_bundle
from registry.core.tlog.checkpoint import Checkpoint, SignedCheckpoint
from registry.core.tlog.note import MAX_NOTE_BYTES
from registry.core.tlog.tile import TILE_WIDTH, TilePath
from registry.core.tlog.verified_tiles import VerifiedTiles, bundles
from registry.errors import MalformedError, Reason, UnavailableError
from registry.remote.http import HTTPClient, check_url

REDIRECTS: Final = 2
"""Redirections that are followed: what comes is verified, wherever it comes from."""

_GONE: Final = (404, 410)
_FOUND: Final = 200


class TiledLog:
    """Reads one log. Belongs to one thread."""

    def __init__(self, url: str, http: HTTPClient) -> None:
        """Prepare to read the log below ``url``; nothing is asked yet.

        Raises:
            MalformedError: ``BAD_SETTING``.
        """
        check_url(url)
        self._prefix = url.rstrip("/")
        self._http = http
        self._tiles: VerifiedTiles | None = None

    def newest(self, *, cosigned: bool = False) -> bytes:
        """The newest checkpoint that is shown, a note that nobody has verified yet.

        With ``cosigned`` it is the newest that witnesses saw, if the log shows that one apart.

        Raises:
            UnavailableError: ``UNREACHABLE``, ``DEADLINE`` or ``REMOTE_STATUS``.
            LimitExceededError: ``ANSWER_TOO_LARGE``.
        """
        url = f"{self._prefix}/checkpoint"
        if cosigned:
            answer = self._http.get(
                f"{url}/cosigned", max_bytes=MAX_NOTE_BYTES, redirects=REDIRECTS
            )
            if answer.status == _FOUND:
                return answer.body
        answer = self._http.get(url, max_bytes=MAX_NOTE_BYTES, redirects=REDIRECTS)
        return answer.expect().body

    def tree(self, head: Checkpoint) -> VerifiedTiles:
        """The tree under a checkpoint whose signature was verified.

        Raises:
            VerificationError: ``TILE``.
            UnavailableError, LimitExceededError: As :meth:`newest`.
        """
        if self._tiles is None or self._tiles.checkpoint != head:
            self._tiles = VerifiedTiles(head, self._tile)
        return self._tiles

    def verify_extends(self, older: Checkpoint, newer: Checkpoint) -> None:
        """Check that ``newer`` extends ``older``, which is no larger.

        Raises:
            VerificationError: ``FORK`` or ``TILE``.
            UnavailableError, LimitExceededError: As :meth:`newest`.
        """
        self.tree(newer).verify_extends(older)

    def entries(
        self, start: int, head: SignedCheckpoint, end: int | None = None
    ) -> Iterator[tuple[int, tuple[bytes, ...]]]:
        """The entries from ``start`` on, piece by piece as (first index, entries), each verified.

        ``end`` is where to stop, if that is before the end of ``head``; also where a bundle ends.

        Raises:
            VerificationError: ``TILE`` or ``INCLUSION_PROOF``.
            MalformedError: ``MALFORMED_BUNDLE``.
            UnavailableError, LimitExceededError: As :meth:`newest`.
        """
        tree = self.tree(head.checkpoint)
        for index, width in bundles(start, head.checkpoint.size if end is None else end):
            entries = self._bundle(index, width)
            tree.verify_bundle(index, entries)
            first = index * TILE_WIDTH
            skipped = max(0, start - first)
            yield first + skipped, entries[skipped:]

    def _tile(self, path: TilePath) -> bytes:
        data = self._fetch(str(path), path.width * SHA256_SIZE, partial=path.width < TILE_WIDTH)
        if data is None:
            full = TilePath(path.level, path.index)
            data = self._fetch(str(full), TILE_WIDTH * SHA256_SIZE, partial=False) or b""
            if len(data) != TILE_WIDTH * SHA256_SIZE:
                raise MalformedError(
                    Reason.MALFORMED_PROOF,
                    "a full tile has another size",
                    where=str(full),
                    expected=f"{TILE_WIDTH * SHA256_SIZE} bytes",
                    actual=f"{len(data)} bytes",
                )
        return data[: path.width * SHA256_SIZE]

    def _bundle(self, index: int, width: int) -> tuple[bytes, ...]:
        path = entry_bundle.bundle_path(index, width)
        limit = entry_bundle.MAX_BUNDLE_BYTES
        data = self._fetch(path, limit, partial=width < TILE_WIDTH)
        if data is not None:
            return entry_bundle.split(data, width)
        data = self._fetch(entry_bundle.bundle_path(index), limit, partial=False) or b""
        return entry_bundle.split(data, TILE_WIDTH)[:width]

    def _fetch(self, path: str, limit: int, *, partial: bool) -> bytes | None:
        """What is published at a path; None if it is partial and has gone."""
        answer = self._http.get(f"{self._prefix}/{path}", max_bytes=limit, redirects=REDIRECTS)
        if partial and answer.status in _GONE:
            return None
        if answer.status in _GONE:
            raise UnavailableError(
                Reason.REMOTE_STATUS,
                "the log does not publish what its checkpoint promises",
                where=answer.url,
                expected=f"status {_FOUND}",
                actual=f"status {answer.status}",
                hint="was it pruned, or is it only late?",
            )
        return answer.expect().body
