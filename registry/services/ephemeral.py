"""Keys that live as long as a certificate: admitted with it, retired when it ends.

A publisher or node that has no lasting key can sign with a new one each time. The log says so in
the same words as for any other key: one event admits it, another retires it, and both are the
operator's. What was signed in between stays valid; what comes later is refused.

Only principals that have no lasting key may do so for their bearer token alone: for the others, who
holds the token must not be able to speak.

A registry that stops retires what has ended when it starts again, before it serves.
"""

import logging
import threading
from collections.abc import Sequence
from datetime import datetime

from registry.core import encoding
from registry.core.access import Principal
from registry.core.digest import sha256
from registry.core.keys import PublicKey
from registry.core.records import key_event
from registry.core.records.key_event import KeyEvent
from registry.errors import ConflictError, Reason, RegistryError
from registry.services.access import Clock
from registry.services.keyring import Keyring
from registry.services.operator import Operator

CHECK_SECONDS = 5.0
"""How long a key may speak after its end, at most: how often ends are looked for."""

logger = logging.getLogger(__name__)


class EphemeralKeys:
    """Admits short-lived keys, and retires them in a thread of its own."""

    def __init__(self, keyring: Keyring, operator: Operator, clock: Clock) -> None:
        """Retire what ended while nobody looked, and go on looking."""
        self._keyring = keyring
        self._operator = operator
        self._clock = clock
        self._lock = threading.Lock()
        self._complaint = ""
        self._stop = threading.Event()
        self._look()
        self._thread = threading.Thread(target=self._run, name="ephemeral keys", daemon=True)
        self._thread.start()

    def may(self, principal: Principal) -> bool:
        """Whether a principal signs with short-lived keys: it has no lasting one."""
        return not any(
            item.event.principal == principal.name and key_event.ephemeral_until(item.event) is None
            for item in self._keyring.admitted()
        )

    def admit(
        self, key: PublicKey, principal: Principal, certificate: bytes, until: datetime
    ) -> None:
        """Let ``key`` speak for ``principal`` until a time; it is in the log on return.

        Raises:
            ConflictError: ``KEY_KNOWN``.
            UnavailableError: ``LOG_BUSY`` or ``LOG_LATCHED``.
        """
        with self._lock:
            if self._keyring.events(key.key_id):
                raise ConflictError(
                    Reason.KEY_KNOWN,
                    "this key was admitted here before",
                    where=key.key_id,
                    hint="make a new one for each certificate",
                )
            note = key_event.ephemeral_note(until, sha256(certificate))
            self._operator.say(
                key_event.statement(
                    "add",
                    key,
                    principal.name,
                    roles=principal.roles,
                    namespaces=principal.namespaces,
                    issued_at=self._clock(),
                    note=note,
                )
            )

    def retire(self, key: PublicKey) -> None:
        """Retire a key before its certificate ends.

        Raises:
            UnavailableError: ``LOG_BUSY`` or ``LOG_LATCHED``.
        """
        with self._lock:
            for item in self._keyring.admitted():
                if item.event.key == encoding.base64_text(key.der):
                    self._retire(item.event)

    def retire_ended(self) -> None:
        """Retire every key whose certificate has ended.

        Raises:
            UnavailableError: ``LOG_BUSY`` or ``LOG_LATCHED``.
        """
        with self._lock:
            for event in self._ended(self._clock()):
                self._retire(event)

    def close(self) -> None:
        """Look no more. Keys that have not ended are retired at the next start."""
        self._stop.set()
        self._thread.join()

    def _retire(self, event: KeyEvent) -> None:
        self._operator.say(
            key_event.statement(
                "retire",
                key_event.public_key(event),
                event.principal,
                roles=event.roles,
                namespaces=event.namespaces,
                issued_at=self._clock(),
                note=event.note,
            )
        )

    def _ended(self, at: datetime) -> Sequence[KeyEvent]:
        admitted = (item.event for item in self._keyring.admitted())
        untils = ((event, key_event.ephemeral_until(event)) for event in admitted)
        return [event for event, until in untils if until is not None and until <= at]

    def _run(self) -> None:
        while not self._stop.wait(CHECK_SECONDS):
            self._look()

    def _look(self) -> None:
        complaint = ""
        try:
            self.retire_ended()
        except RegistryError as error:
            # A log that takes nothing takes nothing signed with these keys either.
            complaint = str(error)
        if complaint not in ("", self._complaint):
            logger.warning("ended keys could not be retired: %s", complaint)
        self._complaint = complaint
