"""The quoting enclave: that it vouches for the attestation key, and that it is Intel's. I10 to I12.

An identity that is not verified lets anybody's enclave sign quotes: its signature is checked before
(I9), and here every member of it counts.
"""

from registry.core.digest import sha256
from registry.core.evidence.checks import CheckError, Ledger, Severity
from registry.core.evidence.intel import tcb
from registry.core.evidence.intel.certificate import Chain, verify_signature
from registry.core.evidence.intel.collateral import EnclaveLevel, QEIdentity
from registry.core.evidence.intel.findings import Found
from registry.core.evidence.intel.quote import Quote
from registry.core.evidence.intel.report import SGX_DEBUG, EnclaveReport


def examine_report(
    quote: Quote, enclave: EnclaveReport, chain: Chain | None, ledger: Ledger
) -> None:
    """Check I10: the report is the platform's, and commits to the attestation key."""
    if chain is not None:
        with ledger.check("I10", quote.qe_report, chain.ders[0]):
            if not verify_signature(chain.keys[0], quote.qe_report_signature, quote.qe_report):
                raise CheckError(
                    Found.QE_REPORT_SIGNATURE,
                    "the quoting enclave's report is not signed by the platform",
                )
    committed = sha256(quote.attestation_key + quote.qe_auth_data)
    with ledger.check("I10", quote.attestation_key, quote.qe_auth_data):
        if enclave.report_data[:32] != committed:
            raise CheckError(
                Found.QE_REPORT_DATA,
                "the quoting enclave vouches for another attestation key",
                expected=committed.hex(),
                actual=enclave.report_data[:32].hex(),
            )
    with ledger.check("I10", quote.qe_report):
        if any(enclave.report_data[32:]):
            raise CheckError(
                Found.QE_REPORT_PADDING,
                "the second half of the quoting enclave's report data is not zero",
                actual=enclave.report_data[32:].hex(),
            )


def examine_identity(
    enclave: EnclaveReport, identity: QEIdentity, ledger: Ledger, *looked: bytes
) -> EnclaveLevel | None:
    """Checks I11 and I12: who the enclave is; the level of its version, if that is a known one.

    Args:
        enclave: What its report says.
        identity: What Intel says of it.
        ledger: Where the checks are recorded.
        looked: The bytes of both.
    """
    mask = bytes.fromhex(identity.attributes_mask)
    misc_mask = bytes.fromhex(identity.misc_select_mask)
    for found, what, expected, actual in (
        (Found.QE_MRSIGNER, "MRSIGNER", bytes.fromhex(identity.mrsigner), enclave.mr_signer),
        (
            Found.QE_ISVPRODID,
            "ISVPRODID",
            identity.isv_prod_id.to_bytes(2, "big"),
            enclave.isv_prod_id.to_bytes(2, "big"),
        ),
        (
            Found.QE_MISCSELECT,
            "MISCSELECT",
            _masked(bytes.fromhex(identity.misc_select), misc_mask),
            _masked(enclave.misc_select, misc_mask),
        ),
        (
            Found.QE_ATTRIBUTES,
            "ATTRIBUTES",
            _masked(bytes.fromhex(identity.attributes), mask),
            _masked(enclave.attributes, mask),
        ),
    ):
        with ledger.check("I11", *looked):
            if expected != actual:
                raise CheckError(
                    found,
                    f"{what} of the quoting enclave is not that of its identity",
                    severity=Severity.IDENTITY,
                    expected=expected.hex(),
                    actual=actual.hex(),
                )
    with ledger.check("I11", *looked):
        # Whatever a mask leaves open: who can debug it can take its key.
        if enclave.flags & SGX_DEBUG:
            raise CheckError(
                Found.QE_DEBUG, "the quoting enclave can be debugged", severity=Severity.IDENTITY
            )
    level = tcb.enclave_level(identity.levels, enclave.isv_svn)
    with ledger.check("I12", *looked):
        if level is None:
            text = f"nothing is known of version {enclave.isv_svn} of the quoting enclave"
            ledger.find("I12", Found.QE_UNSUPPORTED, text)
        elif tcb.status_of(level) is not tcb.Status.UP_TO_DATE:
            # What it does to the status of the platform is merged there (I16).
            ledger.find("I12", Found.QE_OUTDATED, f"version {enclave.isv_svn} is {level.status}")
    return level


def _masked(value: bytes, mask: bytes) -> bytes:
    return bytes(have & keep for have, keep in zip(value, mask, strict=True))
