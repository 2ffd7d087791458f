"""What a client over gRPC may take: connections, calls on each, bytes, and time to say nothing.

One that opens connections and says nothing would else keep the journal from its files, or others
from being served. Calls are bounded by whoever serves; what is here bounds what is below them.
"""

MAX_MESSAGE_BYTES = 256 * 1024 * 1024
"""Bytes of one message in either direction."""

MAX_CALLERS = 512
"""Connections of clients at once, with or without a call on them: half of the files that Linux
lets a process open unless told otherwise, since the journal needs some of the others."""

MAX_STREAMS = 1024
"""Calls at once on one connection, as many as are served at all; clients wait with more."""

MAX_METADATA_BYTES = 64 * 1024
"""Bytes of the metadata of a call that always pass; twice as many never do."""

GREETING_SECONDS = 20.0
"""How long a new connection may take to begin to speak HTTP/2, TLS included."""

IDLE_SECONDS = 300.0
"""How long a connection is kept on which there is no call; its client opens another when needed."""

PROBE_SECONDS = 330.0
"""After so long a silence within a call the other side is asked whether it is still there.

Less than five minutes would make a model server with gRPC's own settings end the connection.
"""

PROBE_ANSWER_SECONDS = 20.0
"""How long the other side may take to answer that."""


def options(
    *, callers: int = MAX_CALLERS, greeting: float = GREETING_SECONDS, idle: float = IDLE_SECONDS
) -> tuple[tuple[str, int], ...]:
    """Options of the server and of the channel to the model server, which heeds fewer of them.

    See gRPC core's ``channel_arg_names.h``, and gRFC A9.

    Args:
        callers: As :data:`MAX_CALLERS`.
        greeting: As :data:`GREETING_SECONDS`.
        idle: As :data:`IDLE_SECONDS`.
    """
    return (
        ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
        ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
        ("grpc.max_metadata_size", MAX_METADATA_BYTES),
        ("grpc.absolute_max_metadata_size", 2 * MAX_METADATA_BYTES),
        ("grpc.max_allowed_incoming_connections", callers),
        ("grpc.max_concurrent_streams", MAX_STREAMS),
        ("grpc.server_handshake_timeout_ms", int(greeting * 1000)),
        ("grpc.max_connection_idle_ms", int(idle * 1000)),
        ("grpc.keepalive_time_ms", int(PROBE_SECONDS * 1000)),
        ("grpc.keepalive_timeout_ms", int(PROBE_ANSWER_SECONDS * 1000)),
    )
