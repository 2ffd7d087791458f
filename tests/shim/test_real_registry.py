"""The shim with a real registry in another process, which dies and comes back."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from registry.client.channel import Connection, Target
from registry.client.registry import RegistryClient
from registry.core.profiles import raw
from registry.core.tlog.note import VerifierKey
from registry.errors import Reason
from registry.shim.app import Shim, open_shim
from tests.running import Caller, Running, running_registry
from tests.shim.world import BRIEF, FILES, QUICK, RELEASE, call, check_history, lay_out, written

SOON = 30.0


@contextlib.contextmanager
def at_work(folder: Path, running: Running, node: Caller) -> Iterator[tuple[Shim, RegistryClient]]:
    """Run a shim that delivers to a registry."""
    log_key = VerifierKey.parse((running.data / "log.vkey").read_text().strip())
    connection = Connection(Target.parse(running.address), token=node.token)
    models = lay_out(folder / "models", FILES)
    with (
        RegistryClient(connection, log_key) as client,
        open_shim(
            folder / "shim",
            node.signer,
            client,
            RELEASE,
            models,
            log_key=log_key,
            pace=QUICK,
            timing=BRIEF,
        ) as shim,
    ):
        yield shim, client


def test_a_registry_that_dies_and_comes_back_gets_everything_once(tmp_path: Path) -> None:
    with running_registry(tmp_path / "data") as first:
        node = first.admit("node-1", "node")
        with at_work(tmp_path, first, node) as (shim, _):
            for i in range(20):
                call(shim.recorder, b"before %d" % i)
            shim.flush(SOON)
            first.kill()
            for i in range(20):
                call(shim.recorder, b"after %d" % i)
    with (
        running_registry(tmp_path / "data") as second,
        at_work(tmp_path, second, node) as (again, client),
    ):
        again.flush(SOON)
        head = client.shim_head(bytes.fromhex(again.shim_id))
        assert again.shim_id == shim.shim_id
        assert head.next_n == again.status().registered_n == len(written(tmp_path / "shim"))
        for text in (b"before 0", b"before 19", b"after 0", b"after 19"):
            assert len(client.find_output([raw.content_digest(text)])) == 1
    check_history(written(tmp_path / "shim"))


def test_a_node_that_the_registry_does_not_admit_is_told_so(tmp_path: Path) -> None:
    with running_registry(tmp_path / "data") as running:
        publisher = running.admit("acme", "publisher", namespaces=["acme/*"])
        with at_work(tmp_path, running, publisher) as (shim, _):
            call(shim.recorder, b"x")
            with pytest.raises(Exception, match=Reason.ROLE):
                shim.flush(SOON)
    assert len(written(tmp_path / "shim")) == 4
