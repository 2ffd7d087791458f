"""Which HTTP requests are calls: whatever asks something of the model, or fetches what it said.

Outputs are also delivered by a ``GET``: of an answer that the model server kept, of a stream that
is resumed, of a batch's file. Those paths are named here, wherever they are mounted. What lists
models, tells of health or of work under way delivers none, and neither does what has no body: an
answer to ``HEAD``, or to ``DELETE``.
"""

import re
from typing import Final

_ONE: Final = r"/[^/]+"
_PATHS: Final = (
    # OpenAI: chats that were stored, all or one; answers, also as a stream that goes on.
    r"/chat/completions(/[^/]+)?",
    rf"/responses{_ONE}",
    rf"/conversations{_ONE}/items(/[^/]+)?",
    rf"/threads{_ONE}/messages(/[^/]+)?",
    rf"/threads{_ONE}/runs{_ONE}/steps(/[^/]+)?",
    rf"/evals{_ONE}/runs{_ONE}/output_items(/[^/]+)?",
    # Files: what a batch answered, what a tool wrote, what a model drew.
    rf"/files{_ONE}/content",
    rf"/videos{_ONE}/content",
    # Anthropic; Cog and Replicate.
    rf"/messages/batches{_ONE}/results",
    rf"/predictions{_ONE}",
)
_KEPT: Final = re.compile(rf"({'|'.join(_PATHS)})/*\Z")


def is_call(method: str, path: str, body: bytes) -> bool:
    """Whether a request is a call, and so has a record.

    Args:
        method: As it was sent, in capitals.
        path: Without the query, decoded.
        body: All of it.
    """
    if method == "POST" or body:
        return True
    return method == "GET" and _KEPT.search(path) is not None
