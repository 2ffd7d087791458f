"""Trust policies: which logs and witnesses, and how many of them (https://c2sp.org/tlog-policy).

::

    log <vkey> [<url>]
    witness <name> <vkey> [<url>]
    group <name> all|any|<k> <member>…
    quorum <name>|none

Names are opaque bytes that mean something within the policy only. Names and keys are taken as they
are or the policy is refused; blanks, empty lines and comments are free, as the specification wants.
A log that signs with an ML-DSA-44 key beside its main one can be named by that key as well, as log
or as witness: the policy then demands the post-quantum signature.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final, Self

from registry.core import encoding
from registry.core.tlog import cosignature
from registry.core.tlog.checkpoint import Checkpoint
from registry.core.tlog.note import COSIGNER_KEYS, ED25519, ML_DSA_44, Note, VerifierKey
from registry.errors import MalformedError, Reason, VerificationError

MAX_POLICY_BYTES = 1024 * 1024
"""Bytes of a policy; an ML-DSA-44 key takes about 1,800."""

MAX_OF_A_KIND = 256
"""Logs, witnesses and groups of a policy, each."""

NONE: Final = "none"
"""The quorum that asks for no cosignature."""

_LOG_KEYS: Final = frozenset({ED25519, ML_DSA_44})
_FORBIDDEN: Final = re.compile(rb"[^\t\n\x20-\x7e\x80-\xff]")
_BLANKS: Final = re.compile("[ \t]+")


@dataclass(frozen=True, slots=True)
class Log:
    """A log that is believed: its key, whose name is the log's origin, and where it is."""

    key: VerifierKey
    url: str | None = None

    def __str__(self) -> str:
        return f"log {self.key}{_tail(self.url)}\n"


@dataclass(frozen=True, slots=True)
class Witness:
    """A witness: its name here, its key, and where to ask it."""

    name: str
    key: VerifierKey
    url: str | None = None

    def __str__(self) -> str:
        return f"witness {self.name} {self.key}{_tail(self.url)}\n"


@dataclass(frozen=True, slots=True)
class Group:
    """A group has seen what at least ``threshold`` of its members have seen."""

    name: str
    threshold: int
    members: tuple[str, ...]

    def __str__(self) -> str:
        return f"group {self.name} {self.threshold} {' '.join(self.members)}\n"


@dataclass(frozen=True, slots=True)
class Standing:
    """Who cosigned a checkpoint, and whether that is enough.

    Attributes:
        quorum: What the policy asks for. Names are fit for showing, whatever bytes they are.
        cosigned: Witness → seconds since 1970 at which it cosigned.
        missing: Witnesses of the quorum that did not.
        met: Whether it is enough.
        seen_at: Seconds since 1970: the latest time at or after which enough of them cosigned;
            None if it is not enough, or nobody is asked for.
    """

    quorum: str
    cosigned: dict[str, int]
    missing: tuple[str, ...]
    met: bool
    seen_at: int | None = None

    def __str__(self) -> str:
        """``quorum NAME met|not met: cosigned by …; missing …``."""
        by = ", ".join(self.cosigned) or "nobody"
        text = f"quorum {self.quorum} {'met' if self.met else 'not met'}: cosigned by {by}"
        return text + (f"; missing {', '.join(self.missing)}" if self.missing else "")


@dataclass(frozen=True, slots=True)
class Policy:
    """What makes a checkpoint good enough."""

    logs: tuple[Log, ...]
    witnesses: tuple[Witness, ...]
    groups: tuple[Group, ...]
    quorum: str

    def __str__(self) -> str:
        """The policy without comments; encode it with ``surrogateescape``."""
        lines = (*self.logs, *self.witnesses, *self.groups)
        return "".join(map(str, lines)) + f"quorum {self.quorum}\n"

    @classmethod
    def parse(cls, data: bytes, *, quorum: str | None = None) -> Self:
        """Read a policy. ``quorum`` is taken if no line names one; without it that is an error.

        Raises:
            MalformedError: ``MALFORMED_POLICY``, saying which line, or what is wrong with a key.
        """
        if len(data) > MAX_POLICY_BYTES:
            raise _refused("a policy is too long", expected=f"at most {MAX_POLICY_BYTES} bytes")
        found = _FORBIDDEN.search(data)
        if found is not None:
            raise _refused("a policy holds a control character", where=f"byte {found.start()}")
        draft = _Draft()
        # Octets above 0x7F are opaque: they come back out as they went in.
        text = data.decode("utf-8", "surrogateescape")
        for number, line in enumerate(text.split("\n"), 1):
            stripped = line.strip(" \t")
            if stripped and not stripped.startswith("#"):
                draft.read(f"line {number}", _BLANKS.split(stripped))
        chosen = draft.quorum or quorum
        if chosen is None:
            raise _refused("a policy needs a quorum", expected="exactly one quorum line")
        return cls(tuple(draft.logs), tuple(draft.witnesses), tuple(draft.groups), chosen)

    def standing(self, note: Note) -> Standing:
        """Who cosigned ``note``, and whether that is enough.

        Raises:
            VerificationError: ``COSIGNATURE`` if the line of a known witness is wrong.
        """
        names = {witness.key: witness.name for witness in self.witnesses}
        cosigned: dict[str, int] = {}
        for key, line in note.lines_by(tuple(names)):
            timestamp, _ = cosignature.split(line.signature)
            cosigned[names[key]] = max(timestamp, cosigned.get(names[key], 0))
        wanted = self._witnesses_of(self.quorum)
        missing = tuple(name for name in wanted if name not in cosigned)
        times = (at for at in sorted(set(cosigned.values()), reverse=True))
        seen_at = next((at for at in times if self._is_met(cosigned, at)), None)
        met = self.quorum == NONE or seen_at is not None
        fit = {shown(name): timestamp for name, timestamp in cosigned.items()}
        return Standing(shown(self.quorum), fit, tuple(map(shown, missing)), met, seen_at)

    def _is_met(self, cosigned: Mapping[str, int], since: int) -> bool:
        """Whether those who cosigned since then are the quorum."""
        seen = {name for name, at in cosigned.items() if at >= since}
        # A group names only what stands before it, so one pass is enough.
        for group in self.groups:
            if len(seen.intersection(group.members)) >= group.threshold:
                seen.add(group.name)
        return self.quorum in seen

    def verify(self, data: bytes) -> None:
        """Check that a signed checkpoint is good enough.

        If the policy names no log at all, the caller knows the log's key and has checked it.

        Raises:
            MalformedError: It is no signed checkpoint.
            VerificationError: ``WRONG_LOG`` or ``LOG_SIGNATURE`` if no log of the policy signed it,
                ``COSIGNATURE`` if the line of a known witness is wrong, ``QUORUM`` if too few
                cosigned; it says who is missing.
        """
        note = Note.parse(data)
        checkpoint = Checkpoint.parse(note.text)
        if self.logs:
            note.verify(self.keys_of(checkpoint.origin))
        standing = self.standing(note)
        if not standing.met:
            raise VerificationError(
                Reason.QUORUM,
                "too few witnesses cosigned this checkpoint",
                where=f"{checkpoint.origin}, {checkpoint.size} entries",
                expected=f"quorum {shown(self.quorum)}",
                actual=str(standing),
                hint="ask again in a moment; somebody who saw only this may be shown a fork",
            )

    def keys_of(self, origin: str) -> tuple[VerifierKey, ...]:
        """The keys by which the log ``origin`` may sign."""
        return tuple(log.key for log in self.logs if log.key.name == origin)

    def _witnesses_of(self, name: str) -> tuple[str, ...]:
        members = {group.name: group.members for group in self.groups}
        if name not in members:
            return () if name == NONE else (name,)
        return tuple(leaf for member in members[name] for leaf in self._witnesses_of(member))


def _tail(url: str | None) -> str:
    return "" if url is None else f" {url}"


def shown(name: str) -> str:
    """A name of a policy, which may be any bytes, fit for showing."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def _refused(what: str, *, where: str = "", expected: str = "", actual: str = "") -> MalformedError:
    return MalformedError(
        Reason.MALFORMED_POLICY, what, where=where, expected=expected, actual=actual
    )


@dataclass(slots=True)
class _Draft:
    """A policy of which some lines have been read."""

    logs: list[Log] = field(default_factory=list)
    witnesses: list[Witness] = field(default_factory=list)
    groups: list[Group] = field(default_factory=list)
    quorum: str | None = None
    names: set[str] = field(default_factory=set)
    members: set[str] = field(default_factory=set)

    def read(self, where: str, items: list[str]) -> None:
        keyword, *rest = items
        match keyword, rest:
            case "log", [vkey, *url] if len(url) <= 1:
                key = VerifierKey.parse(vkey, _LOG_KEYS)
                _unique(where, key, (log.key for log in self.logs))
                self.logs.append(Log(key, *url))
            case "witness", [name, vkey, *url] if len(url) <= 1:
                key = VerifierKey.parse(vkey, COSIGNER_KEYS)
                _unique(where, key, (witness.key for witness in self.witnesses))
                self.define(where, name)
                self.witnesses.append(Witness(name, key, *url))
            case "group", [name, number, _, *_]:
                members = tuple(rest[2:])
                threshold = _threshold(where, number, len(members))
                # Before its own name counts: a group is no member of itself.
                self.enlist(where, members)
                self.define(where, name)
                self.groups.append(Group(name, threshold, members))
            case "quorum", [name] if self.quorum is None:
                if name != NONE and name not in self.names:
                    raise _refused("the quorum is not defined above it", where=where)
                self.quorum = name
            case _:
                raise _refused(
                    "this line says nothing that a policy can say",
                    where=where,
                    expected="log, witness, group, or the one quorum",
                    actual=ascii(" ".join(items)[:80]),
                )
        if max(len(self.logs), len(self.witnesses), len(self.groups)) > MAX_OF_A_KIND:
            raise _refused(
                "a policy has too many lines of a kind", expected=f"at most {MAX_OF_A_KIND}"
            )

    def define(self, where: str, name: str) -> None:
        if name == NONE or name in self.names:
            raise _refused("this name is reserved or taken", where=where, actual=ascii(name[:80]))
        self.names.add(name)

    def enlist(self, where: str, members: tuple[str, ...]) -> None:
        for member in members:
            # Each has one way only to count towards the quorum.
            if member not in self.names or member in self.members:
                raise _refused(
                    "this member is not defined above, or is a member already",
                    where=where,
                    actual=ascii(member[:80]),
                )
            self.members.add(member)


def _unique(where: str, key: VerifierKey, known: Iterable[VerifierKey]) -> None:
    # Under another name or type it would still be one party that counts twice.
    if any(key.public_key == other.public_key for other in known):
        raise _refused("this key stands in the policy twice", where=where, actual=key.name)


def _threshold(where: str, text: str, count: int) -> int:
    words = {"all": count, "any": 1}
    try:
        number = words[text] if text in words else encoding.decimal(text)
    except MalformedError as error:
        raise _refused(
            "this is no threshold", where=where, expected="all, any or a number"
        ) from error
    if not 1 <= number <= count:
        raise _refused(
            "this threshold cannot be met, or always is",
            where=where,
            expected=f"1 to {count}",
            actual=text,
        )
    return number
