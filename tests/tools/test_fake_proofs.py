"""The fake vendor's proofs at a terminal: believed with the options beside them, and by nobody."""

import json
from pathlib import Path

import pytest

from registry.cli.main import run
from tools.fake_vendor.proofs import MINTS, main


@pytest.mark.parametrize("system", MINTS)
def test_a_fake_proof_is_believed_with_its_options_and_by_nobody_without(
    system: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "caught"
    assert main([system, "--out", str(folder)]) == 0
    assert "FAKE" in capsys.readouterr().out
    options = (tmp_path / "caught.options").read_text().split()
    assert run(["import", str(system), str(folder), *options, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["proof"]["verdict"] == "VALID"
    assert run(["import", str(system), str(folder), *options[:2], "--json"]) in (1, 4)


def test_what_is_there_is_not_written_over(tmp_path: Path) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["aci", "--out", str(tmp_path)])
    assert caught.value.code == 2
