"""Tests of registry.core.evidence.nvidia without the extra that reads XML."""

import subprocess
import sys
import textwrap

_WITHOUT_XML = """
    import sys
    from datetime import UTC, datetime

    sys.modules["lxml"] = sys.modules["signxml"] = None

    from registry.core.evidence.endorsements import Endorsements, Role
    from registry.core.evidence.families import FAMILIES
    from registry.core.evidence.claims import Family
    from registry.core.evidence.roots import Roots
    from registry.errors import Reason, UnavailableError

    rules = FAMILIES[Family.NVIDIA_SPDM]
    at = datetime(2026, 6, 1, tzinfo=UTC)
    without = rules.examine(b"", Endorsements(), at, Roots())
    assert without.checks[0].finding == "REPORT_LAYOUT", without.checks[0]
    evidence = b'{"chain":[],"report":"","type":"provreg/nvidia-spdm/v1"}'
    try:
        rules.examine(evidence, Endorsements.of([(Role.NVIDIA_RIM, b"<x/>")]), at, Roots())
    except UnavailableError as error:
        assert error.reason is Reason.MISSING_EXTRA
        assert "provreg[nvidia]" in error.hint
    else:
        raise AssertionError("a manifest was judged by nobody")
"""


def test_without_the_extra_manifests_are_an_error_that_names_it() -> None:
    subprocess.run([sys.executable, "-c", textwrap.dedent(_WITHOUT_XML)], check=True, timeout=60)
