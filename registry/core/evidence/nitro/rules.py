"""What one appraisal needs to know of AWS Nitro."""

from typing import Final

from registry.core.evidence.claims import Family
from registry.core.evidence.nitro.examine import examine
from registry.core.evidence.nitro.findings import TABLE, NitroFinding
from registry.core.evidence.rules import Rules, Weight

MEASURED: Final = (0, 1, 2, 3, 4, 8, *range(16, 32))
"""Registers that mean something: image, kernel, application, IAM role, instance, the image's
signer, and those that the enclave itself extends. The others are reserved and zero."""

RULES: Final = Rules(
    family=Family.AWS_NITRO,
    table=TABLE,
    examine=examine,
    references={f"pcr{index}": "N7" for index in MEASURED},
    minimums={},
    weights={
        NitroFinding.DEBUG: Weight("fatal", {"configuration": 96, "runtime-opaque": 96}),
        NitroFinding.UNKNOWN_FIELD: Weight("fatal", {"configuration": 97}),
        NitroFinding.TOO_OLD: Weight("warning", {"instance-identity": 32}),
    },
    affirms={"hardware": 2, "configuration": 2, "runtime-opaque": 2},
    binding=("user_data", "N8"),
    distrust=(("product_line", "module_id", "pcr0", "pcr8"), "N9"),
    optional=frozenset(("N9",)),
)
"""AWS Nitro."""
