"""Reports of enclaves and trust domains: the bodies of quotes, field by field.

Source: Intel SDM volume 3D §38.15 (REPORT), Intel TDX module ABI specification (TDREPORT). The
names are those of the specifications, in snake case.
"""

from dataclasses import dataclass
from typing import Self

SGX_INIT = 1 << 0
SGX_DEBUG = 1 << 1
SGX_MODE64 = 1 << 2
SGX_KSS = 1 << 7

TD_DEBUG = 1 << 0
TD_TUD = 0xFF
"""Bits of a trust domain under debug, of which DEBUG is the first."""

TD_SEPT_VE_DISABLE = 1 << 28
TD_PKS = 1 << 30
TD_KEY_LOCKER = 1 << 31
TD_PERFMON = 1 << 63
TD_KNOWN = TD_TUD | TD_SEPT_VE_DISABLE | TD_PKS | TD_KEY_LOCKER | TD_PERFMON

XFAM_FIXED = 0x3
"""x87 and SSE are always there."""

XFAM_LEGAL = 0x6DBE7
"""Every feature that the architecture defines."""


@dataclass(frozen=True, slots=True)
class EnclaveReport:
    """An SGX enclave: 384 bytes.

    Attributes:
        reserved: What the specification leaves open, in order.
    """

    cpu_svn: bytes
    misc_select: bytes
    isv_ext_prod_id: bytes
    attributes: bytes
    mr_enclave: bytes
    mr_signer: bytes
    config_id: bytes
    isv_prod_id: int
    isv_svn: int
    config_svn: int
    isv_family_id: bytes
    report_data: bytes
    reserved: bytes

    @classmethod
    def parse(cls, body: bytes) -> Self:
        """Read a report; ``body`` has been cut to size by the layout of the quote."""
        return cls(
            cpu_svn=body[0:16],
            misc_select=body[16:20],
            isv_ext_prod_id=body[32:48],
            attributes=body[48:64],
            mr_enclave=body[64:96],
            mr_signer=body[128:160],
            config_id=body[192:256],
            isv_prod_id=int.from_bytes(body[256:258], "little"),
            isv_svn=int.from_bytes(body[258:260], "little"),
            config_svn=int.from_bytes(body[260:262], "little"),
            isv_family_id=body[304:320],
            report_data=body[320:384],
            # Byte 20 holds the CET attributes.
            reserved=body[21:32] + body[96:128] + body[160:192] + body[262:304],
        )

    @property
    def flags(self) -> int:
        """The first half of the attributes."""
        return int.from_bytes(self.attributes[:8], "little")

    @property
    def xfrm(self) -> int:
        """The second half: extended features."""
        return int.from_bytes(self.attributes[8:], "little")


@dataclass(frozen=True, slots=True)
class TDReport:
    """A trust domain: 584 bytes, or 648 in TDX 1.5.

    Attributes:
        rtmrs: The four run-time measurement registers.
        tee_tcb_svn_2: What runs now, where the module was updated under the domain; TDX 1.5.
        mr_service_td: Measurement of the service domains bound to this one; TDX 1.5.
    """

    tee_tcb_svn: bytes
    mr_seam: bytes
    mr_signer_seam: bytes
    seam_attributes: bytes
    td_attributes: bytes
    xfam: bytes
    mr_td: bytes
    mr_config_id: bytes
    mr_owner: bytes
    mr_owner_config: bytes
    rtmrs: tuple[bytes, bytes, bytes, bytes]
    report_data: bytes
    tee_tcb_svn_2: bytes | None
    mr_service_td: bytes | None

    @classmethod
    def parse(cls, body: bytes) -> Self:
        """Read a report; ``body`` has been cut to size by the layout of the quote."""
        later = body[584:]
        return cls(
            tee_tcb_svn=body[0:16],
            mr_seam=body[16:64],
            mr_signer_seam=body[64:112],
            seam_attributes=body[112:120],
            td_attributes=body[120:128],
            xfam=body[128:136],
            mr_td=body[136:184],
            mr_config_id=body[184:232],
            mr_owner=body[232:280],
            mr_owner_config=body[280:328],
            rtmrs=(body[328:376], body[376:424], body[424:472], body[472:520]),
            report_data=body[520:584],
            tee_tcb_svn_2=later[:16] or None,
            mr_service_td=later[16:] or None,
        )
