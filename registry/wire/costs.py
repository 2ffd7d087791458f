"""Costs ↔ protobuf."""

from datetime import datetime

import msgspec

from registry.api.v1 import journal_service_pb2 as pb
from registry.core.records.costs import SUMS, Cost, Wanted
from registry.errors import MalformedError, Reason
from registry.wire.access import time_from_proto

MAX_MODEL_CHARACTERS = 260
"""Characters of a name and version."""


def cost_to_proto(cost: Cost) -> pb.Cost:
    """Write one row."""
    sums = {name: getattr(cost, name) for name in SUMS}
    return pb.Cost(day=cost.day, model=cost.model, level=cost.level, **sums)


def cost_from_proto(message: pb.Cost) -> Cost:
    """Read one row.

    Raises:
        MalformedError: ``MALFORMED_FIELD``.
    """
    members = {name: getattr(message, name) for name in ("day", "model", "level", *SUMS)}
    try:
        return msgspec.convert(members, Cost)
    except msgspec.ValidationError as error:
        raise MalformedError(
            Reason.MALFORMED_FIELD, "this is no row of costs", actual=str(error)[:200]
        ) from error


def wanted_from_proto(request: pb.SumCostsRequest) -> Wanted:
    """Read which costs are asked for.

    Raises:
        MalformedError: ``MALFORMED_FIELD``.
    """
    if len(request.model) > MAX_MODEL_CHARACTERS:
        raise MalformedError(
            Reason.MALFORMED_FIELD,
            "no model has such a name",
            expected=f"at most {MAX_MODEL_CHARACTERS} characters",
        )
    since = moment(time_from_proto(request.since)) if request.HasField("since") else ""
    until = moment(time_from_proto(request.until)) if request.HasField("until") else ""
    return Wanted(request.model, since, until)


def moment(at: datetime) -> str:
    """A time as records write it, without the ``Z``, so that texts compare as times do."""
    plain = at.replace(tzinfo=None)
    return plain.isoformat(timespec="microseconds" if plain.microsecond else "seconds")
