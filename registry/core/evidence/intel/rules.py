"""What appraisal needs to know of Intel quotes."""

from typing import Final

from registry.core.evidence.claims import Family
from registry.core.evidence.intel.examine import examine
from registry.core.evidence.intel.findings import TABLE, WEIGHTS
from registry.core.evidence.intel.second_engine import second_opinion
from registry.core.evidence.rules import Rules

_ENCLAVE: Final = ("mr_enclave", "mr_signer", "isv_prod_id", "config_id")
_TRUST_DOMAIN: Final = (
    "mr_td",
    "rtmr0",
    "rtmr1",
    "rtmr2",
    "rtmr3",
    "mr_config_id",
    "mr_owner",
    "mr_owner_config",
    "mr_seam",
    "mr_service_td",
)

RULES: Final = Rules(
    family=Family.INTEL_DCAP,
    table=TABLE,
    examine=examine,
    references={
        **dict.fromkeys(_ENCLAVE, "I18"),
        **dict.fromkeys(_TRUST_DOMAIN, "I21"),
        "dstack_app_id": "I24",
        "dstack_compose_hash": "I24",
    },
    minimums={
        "isv_svn": "I18",
        "config_svn": "I18",
        "qe_isv_svn": "I12",
        "pce_svn": "I14",
        "tcb_evaluation_data_number": "I17",
        "qe_evaluation_data_number": "I17",
    },
    weights=WEIGHTS,
    affirms={"hardware": 2, "configuration": 3, "runtime-opaque": 2},
    binding=("report_data", "I22"),
    distrust=(("fmspc", "ppid", "piid", "pck_authority_sha256", "tcb_status"), "I23"),
    optional=frozenset(("I6", "I24")),
    second_opinion=second_opinion,
)
"""SGX enclaves and TDX trust domains."""
