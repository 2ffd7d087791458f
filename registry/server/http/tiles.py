"""The log over plain HTTP, as https://c2sp.org/tlog-tiles asks, and again below ``/api/v2``.

Anybody may read it: entries hold digests, signatures and public keys, and no more. What is answered
once for a tile stays true for ever, so answers are kept as they are sent.
"""

import asyncio
import gzip
from collections import OrderedDict

from registry.core.tlog import entry_bundle
from registry.core.tlog.tile import TilePath
from registry.server.http.routing import BYTES, TEXT, Request, Response, Route
from registry.services.sequencing import Sequencer
from registry.services.tiles import Tiles

PREFIXES = ("", "/api/v2")
"""Where the same log is served: Sigstore clients add the second one to the log's address."""

CHECKPOINT_SECONDS = 2
"""How long anybody may keep a checkpoint instead of asking again."""

MAX_KEPT_BYTES = 64 * 1024 * 1024
"""Bytes of tiles and bundles that are kept ready to be sent."""

KEPT_OVERHEAD_BYTES = 1024
"""What a kept answer takes beside its body, roughly."""

GZIP_LEVEL = 6
"""Signatures and digests in base64 shrink by a quarter; no level finds more."""

_FOR_EVER = ("cache-control", "public, max-age=31536000, immutable")


class TileRoom:
    """Answers reads of the log."""

    def __init__(self, sequencer: Sequencer, tiles: Tiles) -> None:
        self._sequencer = sequencer
        self._tiles = tiles
        self._kept: OrderedDict[tuple[str, bool], Response] = OrderedDict()
        self._kept_bytes = 0

    def routes(self) -> tuple[Route, ...]:
        """What is served where."""
        return tuple(
            route
            for prefix in PREFIXES
            for route in (
                Route("GET", f"{prefix}/checkpoint", self.checkpoint),
                Route("GET", f"{prefix}/tile/{{path*}}", self.tile),
            )
        )

    async def checkpoint(self, _request: Request) -> Response:
        """The newest signed checkpoint."""
        head = self._sequencer.heads.require()
        return Response(
            body=head.note,
            media_type=TEXT,
            headers=(("cache-control", f"max-age={CHECKPOINT_SECONDS}"),),
        )

    async def tile(self, request: Request) -> Response:
        """A tile, an entry bundle, or the beginning of one."""
        path = request.parts["path"]
        is_bundle = path.startswith("entries/")
        key = path, is_bundle and _takes_gzip(request)
        kept = self._kept.get(key)
        if kept is not None:
            self._kept.move_to_end(key)
            return kept
        read = self._bundle if is_bundle else self._tile
        response = await asyncio.to_thread(read, f"tile/{path}", key[1])
        self._keep(key, response)
        return response

    def _tile(self, path: str, _compressed: object) -> Response:
        data = self._tiles.tile(TilePath.parse(path), self._size())
        return Response(body=data, media_type=BYTES, headers=(_FOR_EVER,))

    def _bundle(self, path: str, compressed: object) -> Response:
        index, width = entry_bundle.parse_path(path)
        data = self._tiles.bundle(index, width, self._size())
        headers = (_FOR_EVER, ("vary", "accept-encoding"))
        if not compressed:
            return Response(body=data, media_type=BYTES, headers=headers)
        # Without the time in it, the same bundle is always the same bytes.
        packed = gzip.compress(data, GZIP_LEVEL, mtime=0)
        return Response(
            body=packed, media_type=BYTES, headers=(*headers, ("content-encoding", "gzip"))
        )

    def _size(self) -> int:
        head = self._sequencer.head
        return 0 if head is None else head.checkpoint.size

    def _keep(self, key: tuple[str, bool], response: Response) -> None:
        if key in self._kept:
            return
        self._kept[key] = response
        self._kept_bytes += len(response.body) + KEPT_OVERHEAD_BYTES
        while self._kept_bytes > MAX_KEPT_BYTES:
            _, oldest = self._kept.popitem(last=False)
            self._kept_bytes -= len(oldest.body) + KEPT_OVERHEAD_BYTES


def _takes_gzip(request: Request) -> bool:
    """Whether the caller takes gzip: a caller who says nothing does (RFC 9110 §12.5.3)."""
    accepted = request.headers.get("accept-encoding")
    if accepted is None:
        return True
    for item in accepted.lower().split(","):
        coding, _, quality = item.partition(";")
        if coding.strip() in ("gzip", "x-gzip", "*"):
            return quality.replace(" ", "") not in ("q=0", "q=0.0", "q=0.00", "q=0.000")
    return False
