"""Real quotes with real collateral, as other verifiers publish them (found, never copied)."""

import json
import os
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from registry.core.evidence.claims import Examination
from registry.core.evidence.endorsements import Endorsements, Role
from registry.core.evidence.intel.findings import Found
from registry.core.evidence.intel.rules import RULES
from registry.core.evidence.roots import Roots

FOLDER = Path(os.environ.get("PROVREG_TEST_VECTORS", "/nowhere")) / "tee"
SETS = sorted(item.stem for item in (FOLDER / "intel-dcap" / "sets").glob("*.json"))
NO_SETS = "PROVREG_TEST_VECTORS names no folder with tee/intel-dcap/sets"

needs_sets = pytest.mark.skipif(not SETS, reason=NO_SETS)
"""Tests that can do without minted evidence, not without real one."""


FLAGGED = {
    "I3 trailing bytes": ("I3", Found.TRAILING_BYTES),
    "I14 no TCB level": ("I14", Found.TCB_UNSUPPORTED),
    "I18 debug": ("I18", Found.DEBUG),
    "I19 debug": ("I19", Found.DEBUG),
    "I19 SEPT_VE_DISABLE off": ("I19", Found.SEPT_VE_ENABLED),
    "I21 MRSERVICETD set": ("I21", Found.SERVICE_TD),
}
"""The flags of the public table, as we name them."""

STATUS: dict[str | None, set[tuple[str, str]]] = {
    None: set(),
    "UpToDate": set(),
    "OutOfDate": {("I16", "OUT_OF_DATE")},
    "SWHardeningNeeded": {("I16", "SW_HARDENING_NEEDED")},
    "ConfigurationAndSWHardeningNeeded": {("I16", "CONFIGURATION_AND_SW_HARDENING_NEEDED")},
}
"""Its statuses, as we name them."""


@dataclass(frozen=True)
class Set:
    """A quote, collateral, a moment, and what must come out."""

    quote: bytes
    roles: dict[Role, bytes]
    at: datetime
    start: datetime
    end: datetime
    expected: dict[str, Any]

    @property
    def endorsements(self) -> Endorsements:
        """All of its collateral."""
        return Endorsements.of(self.roles.items())

    def examine(self, at: datetime | None = None, **other: bytes) -> Examination:
        """Examine it at its moment or another one, some collateral exchanged by role name."""
        roles = self.roles | {Role[name]: data for name, data in other.items()}
        endorsements = Endorsements.of((role, data) for role, data in roles.items() if data)
        return RULES.examine(self.quote, endorsements, at or self.at, Roots())


def answer(member: str, value: str, signature: str) -> bytes:
    """Intel's answer with signed JSON."""
    return f'{{"{member}":{value},"signature":"{signature}"}}'.encode()


def load(name: str) -> Set:
    """One set."""
    told = json.loads((FOLDER / "intel-dcap" / "sets" / f"{name}.json").read_text())
    said = told["collateral"]
    return Set(
        quote=bytes.fromhex(told["quote_hex"]),
        roles={
            Role.INTEL_TCB_INFO: answer("tcbInfo", said["tcb_info"], said["tcb_info_signature"]),
            Role.INTEL_TCB_CHAIN: said["tcb_info_issuer_chain"].encode(),
            Role.INTEL_QE_IDENTITY: answer(
                "enclaveIdentity", said["qe_identity"], said["qe_identity_signature"]
            ),
            Role.INTEL_QE_CHAIN: said["qe_identity_issuer_chain"].encode(),
            Role.INTEL_ROOT_CRL: bytes.fromhex(said["root_ca_crl"]),
            Role.INTEL_PCK_CRL: bytes.fromhex(said["pck_crl"]),
            Role.INTEL_PCK_CRL_CHAIN: said["pck_crl_issuer_chain"].encode(),
        },
        at=datetime.fromisoformat(told["at"]),
        start=datetime.fromisoformat(told["valid_from"]),
        end=datetime.fromisoformat(told["valid_until"]),
        expected=told["expected"],
    )


def failures(examination: Examination) -> set[tuple[str, str]]:
    """The checks that failed, and what was found."""
    return {(item.check, item.finding) for item in examination.checks if item.outcome == "fail"}


SECOND = timedelta(seconds=1)
