"""What Intel quotes are checked for, what may be found, and what a policy makes of it."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Final

from registry.core.evidence.rules import Weight

TABLE: Final[Mapping[str, str]] = {
    "I1": "the version, key type, TEE type and body of the quote agree",
    "I2": "the quoting enclave is Intel's",
    "I3": "every length in the signature data is exact",
    "I4": "the PCK certificate chains to the Intel root",
    "I5": "the PCK certificate and its authority are what they are called",
    "I6": "the CRLs are signed and current, and nothing used is revoked",
    "I7": "the TCB info is signed and current",
    "I8": "the TCB info is for this platform",
    "I9": "the identity of the quoting enclave is signed and current",
    "I10": "the quoting enclave's report is signed and names the attestation key",
    "I11": "the quoting enclave is the one that the identity describes",
    "I12": "the quoting enclave's version is a known one",
    "I13": "the quote is signed by the attestation key",
    "I14": "the platform's TCB is a known one",
    "I15": "the TDX module is a known one",
    "I16": "the statuses of platform, module and quoting enclave, merged",
    "I17": "status, date, evaluation number and advisories are kept",
    "I18": "the enclave runs in production mode",
    "I19": "the trust domain runs in production mode",
    "I20": "the trust domain's extended features are legal",
    "I21": "the measurements of the trust domain",
    "I22": "the report data is the expected commitment",
    "I23": "the platform itself is not distrusted",
    "I24": "the event log replays to the run-time measurements",
}
"""Every check, in order."""


class Found(StrEnum):
    """What an examination of an Intel quote may find, beside what any family may."""

    # The quote.
    UNKNOWN_VERSION = "UNKNOWN_VERSION"
    UNKNOWN_KEY_TYPE = "UNKNOWN_KEY_TYPE"
    TEE_TYPE = "TEE_TYPE"
    BODY_TYPE = "BODY_TYPE"
    TRUNCATED = "TRUNCATED"
    QE_VENDOR = "QE_VENDOR"
    SIGNATURE_DATA_LENGTH = "SIGNATURE_DATA_LENGTH"
    CERTIFICATION_DATA = "CERTIFICATION_DATA"
    TRAILING_BYTES = "TRAILING_BYTES"
    QUOTE_SIGNATURE = "QUOTE_SIGNATURE"
    ATTESTATION_KEY = "ATTESTATION_KEY"

    # Certificates.
    PEM = "PEM"
    CERTIFICATE = "CERTIFICATE"
    CHAIN_LENGTH = "CHAIN_LENGTH"
    CHAIN_BROKEN = "CHAIN_BROKEN"
    NOT_AN_AUTHORITY = "NOT_AN_AUTHORITY"
    OTHER_ROOT = "OTHER_ROOT"
    PCK_NAME = "PCK_NAME"
    PCK_AUTHORITY = "PCK_AUTHORITY"
    PCK_EXTENSION = "PCK_EXTENSION"
    REVOKED_LATER = "REVOKED_LATER"

    # Signed JSON.
    COLLATERAL = "COLLATERAL"
    COLLATERAL_SIGNER = "COLLATERAL_SIGNER"
    COLLATERAL_SIGNATURE = "COLLATERAL_SIGNATURE"
    TCB_INFO_ID = "TCB_INFO_ID"
    TCB_INFO_VERSION = "TCB_INFO_VERSION"
    FMSPC_MISMATCH = "FMSPC_MISMATCH"
    PCEID_MISMATCH = "PCEID_MISMATCH"
    QE_IDENTITY_ID = "QE_IDENTITY_ID"
    QE_IDENTITY_VERSION = "QE_IDENTITY_VERSION"
    UNKNOWN_STATUS = "UNKNOWN_STATUS"
    TDX_COMPONENTS = "TDX_COMPONENTS"

    # The quoting enclave.
    QE_REPORT_SIGNATURE = "QE_REPORT_SIGNATURE"
    QE_REPORT_DATA = "QE_REPORT_DATA"
    QE_REPORT_PADDING = "QE_REPORT_PADDING"
    QE_MRSIGNER = "QE_MRSIGNER"
    QE_ISVPRODID = "QE_ISVPRODID"
    QE_MISCSELECT = "QE_MISCSELECT"
    QE_ATTRIBUTES = "QE_ATTRIBUTES"
    QE_DEBUG = "QE_DEBUG"
    QE_UNSUPPORTED = "QE_UNSUPPORTED"
    QE_OUTDATED = "QE_OUTDATED"

    # The TCB.
    TCB_UNSUPPORTED = "TCB_UNSUPPORTED"
    MODULE_MISSING = "MODULE_MISSING"
    MODULE_SIGNER = "MODULE_SIGNER"
    MODULE_ATTRIBUTES = "MODULE_ATTRIBUTES"
    MODULE_UNSUPPORTED = "MODULE_UNSUPPORTED"
    SW_HARDENING_NEEDED = "SW_HARDENING_NEEDED"
    CONFIGURATION_NEEDED = "CONFIGURATION_NEEDED"
    CONFIGURATION_AND_SW_HARDENING_NEEDED = "CONFIGURATION_AND_SW_HARDENING_NEEDED"
    OUT_OF_DATE = "OUT_OF_DATE"
    OUT_OF_DATE_CONFIGURATION_NEEDED = "OUT_OF_DATE_CONFIGURATION_NEEDED"
    TD_RELAUNCH_ADVISED = "TD_RELAUNCH_ADVISED"
    TD_RELAUNCH_ADVISED_CONFIGURATION_NEEDED = "TD_RELAUNCH_ADVISED_CONFIGURATION_NEEDED"
    TCB_REVOKED = "TCB_REVOKED"

    # What runs.
    DEBUG = "DEBUG"
    TD_UNDER_DEBUG = "TD_UNDER_DEBUG"
    NOT_INITIALIZED = "NOT_INITIALIZED"
    NOT_64_BIT = "NOT_64_BIT"
    SEPT_VE_ENABLED = "SEPT_VE_ENABLED"
    RESERVED_BITS = "RESERVED_BITS"
    PROTECTION_KEYS = "PROTECTION_KEYS"
    KEY_LOCKER = "KEY_LOCKER"
    PERFORMANCE_MONITORING = "PERFORMANCE_MONITORING"
    ILLEGAL_FEATURES = "ILLEGAL_FEATURES"
    SERVICE_TD = "SERVICE_TD"


WEIGHTS: Final[Mapping[StrEnum, Weight]] = {
    Found.TRAILING_BYTES: Weight("fatal", {"hardware": 97}),
    Found.REVOKED_LATER: Weight("accept"),
    Found.QE_UNSUPPORTED: Weight("fatal", {"hardware": 97}),
    Found.QE_OUTDATED: Weight("accept"),
    Found.TCB_UNSUPPORTED: Weight("fatal", {"hardware": 97}),
    Found.MODULE_UNSUPPORTED: Weight("fatal", {"hardware": 97}),
    Found.SW_HARDENING_NEEDED: Weight("warning", {"hardware": 32}),
    Found.CONFIGURATION_NEEDED: Weight("warning", {"configuration": 32}),
    Found.CONFIGURATION_AND_SW_HARDENING_NEEDED: Weight(
        "warning", {"hardware": 32, "configuration": 32}
    ),
    Found.OUT_OF_DATE: Weight("warning", {"hardware": 32}),
    Found.OUT_OF_DATE_CONFIGURATION_NEEDED: Weight(
        "warning", {"hardware": 32, "configuration": 32}
    ),
    Found.TD_RELAUNCH_ADVISED: Weight("warning", {"hardware": 32}),
    Found.TD_RELAUNCH_ADVISED_CONFIGURATION_NEEDED: Weight(
        "warning", {"hardware": 32, "configuration": 32}
    ),
    Found.TCB_REVOKED: Weight("fatal", {"hardware": 96}),
    Found.DEBUG: Weight("fatal", {"configuration": 96, "runtime-opaque": 96}),
    Found.TD_UNDER_DEBUG: Weight("fatal", {"configuration": 96, "runtime-opaque": 96}),
    Found.NOT_INITIALIZED: Weight("fatal", {"configuration": 96}),
    Found.NOT_64_BIT: Weight("warning", {"configuration": 36}),
    Found.SEPT_VE_ENABLED: Weight("warning", {"configuration": 32}),
    Found.RESERVED_BITS: Weight("warning", {"configuration": 36}),
    Found.PROTECTION_KEYS: Weight("accept"),
    Found.KEY_LOCKER: Weight("accept"),
    Found.PERFORMANCE_MONITORING: Weight("warning", {"configuration": 32}),
    Found.ILLEGAL_FEATURES: Weight("fatal", {"configuration": 96}),
    Found.SERVICE_TD: Weight("warning", {"configuration": 36}),
}
"""Everything here that is for a policy to weigh."""
