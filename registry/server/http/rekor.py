"""``POST /api/v2/log/entries``: what Sigstore's clients call to log a signature.

The status is 201 for a new entry and for one that is there already, since stock clients fail on
anything else. ``x-log-index`` says which entry it is, as Rekor does when it refuses a duplicate.
"""

from http import HTTPStatus

from registry.core.tlog.entry_request import MAX_REQUEST_BYTES, EntryRequest
from registry.core.tlog.note import VerifierKey
from registry.core.tlog.receipt import Receipt
from registry.core.tlog.rekor import TransparencyLogEntry
from registry.errors import ConflictError, Reason
from registry.server.http.routing import Request, Response, Route, refusal
from registry.server.waiting import Waiting
from registry.services.signatures import Signatures

PATH = "/api/v2/log/entries"
INDEX = "x-log-index"


class RekorRoom:
    """Answers requests to log a signature."""

    def __init__(self, signatures: Signatures, key: VerifierKey) -> None:
        self._signatures = signatures
        self._key = key
        self._waiting: Waiting[Receipt] = Waiting()

    def routes(self) -> tuple[Route, ...]:
        """What is served where."""
        return (Route("POST", PATH, self.create, MAX_REQUEST_BYTES),)

    async def create(self, request: Request) -> Response:
        """Log a signature; the answer has its proof."""
        self._signatures.check_open()
        try:
            # Two signatures, of the request and by the log, are checked faster than handed over.
            logging = self._signatures.register(EntryRequest.parse(request.body))
            receipt = await self._waiting.result(logging.receipt)
        except ConflictError as error:
            response = refusal(error)
            if error.reason is not Reason.ENTRY_EXISTS or not error.actual.isdigit():
                return response
            headers = (*response.headers, (INDEX, error.actual))
            return Response(response.status, response.body, headers=headers)
        entry = TransparencyLogEntry.proved(logging.body, receipt, self._key)
        return Response(
            HTTPStatus.CREATED, entry.to_bytes(), headers=((INDEX, str(receipt.index)),)
        )
