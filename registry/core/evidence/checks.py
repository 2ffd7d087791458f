"""One result for every check of a family's table: pass, fail or skipped, with the reason.

The tables are named by letter and number: I for Intel, S for AMD SEV-SNP and Azure, N for AWS
Nitro, G for NVIDIA. A check that was never reached says so; none is ever left out.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from enum import StrEnum
from typing import Literal

import msgspec

from registry.core.digest import sha256
from registry.core.encoding import Hex32, Text, Value
from registry.core.evidence.validity import Validity
from registry.errors import Reason, VerificationError

_DETAIL_CHARACTERS = 1000


class Severity(StrEnum):
    """What the failure of a check means.

    ``crypto`` and ``identity`` contradict the evidence: it is invalid whatever anybody wants.
    ``time`` leaves it open: something was outside its window, or is missing. ``policy`` is for the
    appraisal policy to weigh.
    """

    CRYPTO = "crypto"
    IDENTITY = "identity"
    POLICY = "policy"
    TIME = "time"


class Finding(StrEnum):
    """What any family may find; each family adds an enumeration of its own."""

    NOT_YET_VALID = "NOT_YET_VALID"
    EXPIRED = "EXPIRED"
    MISSING = "MISSING"
    NOT_REACHED = "NOT_REACHED"
    NOT_APPLICABLE = "NOT_APPLICABLE"
    SKIPPED_BY_POLICY = "SKIPPED_BY_POLICY"
    UNTRUSTED_ROOT = "UNTRUSTED_ROOT"
    REVOKED = "REVOKED"
    MALFORMED = "MALFORMED"
    REFERENCE_MISMATCH = "REFERENCE_MISMATCH"
    BELOW_MINIMUM = "BELOW_MINIMUM"
    BINDING_MISMATCH = "BINDING_MISMATCH"
    DISTRUSTED = "DISTRUSTED"


class CheckResult(Value, frozen=True):
    """What one check said.

    Attributes:
        check: Its name in the table, such as ``I4``.
        severity: What it means if it failed.
        finding: The stable word for why it failed or was skipped; empty if it passed.
        detail: What was found, in plain words.
        inputs: SHA-256 of what it looked at; none if it was skipped, or if that is missing.
    """

    check: str
    outcome: Literal["pass", "fail", "skipped"]
    severity: Severity = Severity.CRYPTO
    finding: str = ""
    detail: Text = ""
    inputs: tuple[Hex32, ...] = ()


class CheckError(VerificationError):
    """A check of the table says no.

    Attributes:
        finding: The stable word.
        severity: What it means.
    """

    def __init__(
        self,
        finding: StrEnum,
        what: str,
        *,
        severity: Severity = Severity.CRYPTO,
        where: str = "",
        expected: str = "",
        actual: str = "",
    ) -> None:
        super().__init__(
            Reason.EVIDENCE_CHECK, what, where=where, expected=expected, actual=actual[:400]
        )
        self.finding = finding
        self.severity = severity

    def detail(self) -> str:
        """What was found, in one line."""
        parts = [self.what]
        parts += [self.where] if self.where else []
        parts += [f"expected {self.expected}"] if self.expected else []
        parts += [f"actual {self.actual}"] if self.actual else []
        return "; ".join(parts)[:_DETAIL_CHARACTERS]


def missing(what: str, role: str = "") -> CheckError:
    """The failure that says: this endorsement is needed and is not at hand.

    Args:
        what: What is missing.
        role: The role in which an endorsement can be given; empty if it is none.
    """
    text = f"{what} is not at hand" + (f" ({role})" if role else "")
    return CheckError(Finding.MISSING, text, severity=Severity.TIME)


class Ledger:
    """Collects the results of one examination in the order of the table.

    Args:
        table: Every check of the family: its name and what it checks, in order.
        at: The moment that counts, in Unix seconds.
        evidence: What a check looks at that names nothing else; None if there is no such thing.
    """

    def __init__(self, table: Mapping[str, str], at: int, evidence: bytes | None = None) -> None:
        self.at = at
        self._table = table
        self._evidence = () if evidence is None else (sha256(evidence).hex(),)
        self._results: list[CheckResult] = []
        self._window: Validity | None = None

    @contextmanager
    def check(self, name: str, *inputs: bytes) -> Iterator[None]:
        """Run the body as one check: it passes unless it raises :class:`CheckError`.

        A failure is recorded and goes no further, so that the checks after it still speak. A check
        may be run in several parts: it has then one result for each part that failed, and a pass
        only if none did.

        Args:
            name: The check, such as ``I4``.
            inputs: The bytes that it looks at.
        """
        digests = tuple(sha256(data).hex() for data in inputs)
        if name not in self._table:
            raise KeyError(name)
        try:
            yield
        except CheckError as error:
            self._results.append(
                CheckResult(
                    check=name,
                    outcome="fail",
                    severity=error.severity,
                    finding=error.finding,
                    detail=error.detail(),
                    inputs=digests,
                )
            )
        else:
            self._results.append(CheckResult(check=name, outcome="pass", inputs=digests))

    def find(
        self, name: str, finding: StrEnum, detail: str, severity: Severity = Severity.POLICY
    ) -> None:
        """Record something for the policy to weigh, without ending the check that found it."""
        self._results.append(
            CheckResult(
                check=name, outcome="fail", severity=severity, finding=finding, detail=detail
            )
        )

    def skip(self, name: str, finding: StrEnum, detail: str) -> None:
        """Record that a check was not made, and why."""
        self._results.append(
            CheckResult(check=name, outcome="skipped", finding=finding, detail=detail)
        )

    def within(self, what: str, window: Validity) -> None:
        """Require ``what`` to be valid at the moment; its window narrows that of the whole.

        Raises:
            CheckError: ``NOT_YET_VALID`` or ``EXPIRED``.
        """
        self._window = window if self._window is None else self._window.overlap(window)
        if self.at < window.start:
            raise _outside(Finding.NOT_YET_VALID, what, window, self.at)
        if self.at > window.end:
            raise _outside(Finding.EXPIRED, what, window, self.at)

    def failed(self, *names: str) -> bool:
        """Whether one of these checks failed in a way that is not for the policy to weigh."""
        return any(
            result.check in names
            and result.outcome == "fail"
            and result.severity is not Severity.POLICY
            for result in self._results
        )

    @property
    def window(self) -> Validity | None:
        """Where all windows that were used overlap; None if none was."""
        return self._window

    def results(self) -> tuple[CheckResult, ...]:
        """At least one result for every check of the table, in its order."""
        said: list[CheckResult] = []
        for name in self._table:
            own = [result for result in self._results if result.check == name]
            looked = tuple(dict.fromkeys(item for part in own for item in part.inputs))
            inputs = looked or self._evidence
            failed = [result for result in own if result.outcome == "fail"]
            if failed:
                said.extend(dict.fromkeys(_with_inputs(result, inputs) for result in failed))
            elif any(result.outcome == "pass" for result in own):
                said.append(CheckResult(check=name, outcome="pass", inputs=inputs))
            elif own:
                said.append(own[0])
            else:
                said.append(
                    CheckResult(
                        check=name,
                        outcome="skipped",
                        finding=Finding.NOT_REACHED,
                        detail="an earlier check left nothing to look at",
                    )
                )
        return tuple(said)


def _with_inputs(result: CheckResult, inputs: tuple[str, ...]) -> CheckResult:
    """The same, with what its check looked at; what is missing cannot be looked at."""
    if result.inputs or result.finding == Finding.MISSING:
        return result
    return msgspec.structs.replace(result, inputs=inputs)


def _outside(finding: Finding, what: str, window: Validity, at: int) -> CheckError:
    return CheckError(
        finding,
        f"{what} is outside its window",
        severity=Severity.TIME,
        expected=str(window),
        actual=Validity.text(at),
    )
