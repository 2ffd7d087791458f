"""Ports for servers that start later, or again: none that the system gives to anybody meanwhile.

Whoever asks the system for any port, or connects to somebody, gets one of a range. A port of that
range that was found free is another's a moment later, as soon as enough is going on.
"""

import random
import socket

PORTS = range(10_000, 32_768)
"""Below what Linux gives (from 32 768), and other systems (from 49 152)."""


def free_port(width: int = 1) -> int:
    """The first of so many ports side by side that nobody listens on."""
    chance = random.SystemRandom()
    while True:
        first = chance.choice(PORTS[:-width])
        if all(_is_free(first + further) for further in range(width)):
            return first


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True
