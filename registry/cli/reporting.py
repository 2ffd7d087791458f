"""What the model server behind a shim reports, as an option of the command line."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from registry.cli.output import say
from registry.core.records.inference import Report
from registry.errors import UnavailableError
from registry.shim.release import PinnedRelease
from registry.shim.reports.choice import Interface, reader_of
from registry.shim.reports.wanted import Wanted
from registry.shim.reports.watch import ReportWatch
from registry.shim.serving import Upstream


@contextmanager
def reporting(
    interface: Interface | None,
    upstream: Upstream,
    release: PinnedRelease,
    served_as: Sequence[str],
) -> Iterator[ReportWatch | None]:
    """Have the model server asked while the block runs, if that is wanted.

    Args:
        interface: Over which interface; None asks nothing.
        upstream: The model server.
        release: The version that answers.
        served_as: What the model server calls it; the first name is asked for.

    Raises:
        MalformedError: ``BAD_SETTING``.
    """
    if interface is None:
        yield None
        return
    name, version = next(iter(served_as), ""), ""
    if interface == "open-inference":
        # Names of other interfaces may have slashes of their own.
        name, _, version = name.partition("/")
    wanted = Wanted(name, version, f"{release.name}@{release.version}")
    watch = ReportWatch(reader_of(interface, upstream, wanted), release)
    watch.ask()
    _tell(watch)
    try:
        yield watch
    finally:
        watch.stop()


def _tell(watch: ReportWatch) -> None:
    if watch.newest is not None:
        say(f"the model server reports {_text(watch.newest)}")
    try:
        watch.told()
    except UnavailableError as error:
        say(f"{error}")


def _text(said: Report) -> str:
    parts = [
        said.model,
        f"version {said.version}" if said.version else "",
        f"sha256:{said.digest}" if isinstance(said.digest, str) else "",
        f"{len(said.weights)} files of weights" if said.weights else "",
        f"{said.engine} {said.engine_version}".strip(),
    ]
    return ", ".join(filter(None, parts))
