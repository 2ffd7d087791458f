"""``provreg shim``: record every output of a model server, as a proxy in front of it."""

import asyncio
import gc
import signal
import sys
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from pathlib import Path
from typing import cast, get_args

import click

from registry.cli.attesting import Attest, attest_options, attesting
from registry.cli.chosen import chosen, served
from registry.cli.duration import seconds
from registry.cli.output import say
from registry.cli.pinned_release import pinned_release, verified_client
from registry.cli.policy_file import read_record
from registry.cli.reporting import reporting
from registry.cli.telling_troubles import tell_troubles, tell_what_waits
from registry.client.replays import ReplayCalls
from registry.core.records.names import split_reference
from registry.errors import MalformedError, Reason
from registry.shim.app import Shim, open_shim
from registry.shim.deployment import Description, Engine, Setting, Standing
from registry.shim.descriptors import raise_limit
from registry.shim.durable import make_folder, require_own
from registry.shim.health import BEHIND_SECONDS, Watched
from registry.shim.health_listener import PATH, telling
from registry.shim.model_watch import ModelWatch
from registry.shim.pinned import PinnedFile
from registry.shim.privacy.keeping import Keeping
from registry.shim.privacy.policy import PrivacyPolicy
from registry.shim.privacy.vault import FOLDER as VAULT
from registry.shim.privacy.vault import Vault
from registry.shim.recorder.awaiting import Awaiting
from registry.shim.recorder.calls import Calls, Mode
from registry.shim.recorder.journal import MAX_BYTES, SEGMENT_BYTES
from registry.shim.reports.choice import Interface
from registry.shim.serving import Listen, Upstream, serving
from registry.shim.spans import Spans, spans_to
from registry.shim.tls import Pair
from registry.signing.file import StatementSigner

DEFAULT_LISTEN = "127.0.0.1:8790"
"""Where the proxy listens unless told otherwise."""

MEBIBYTE = 1024 * 1024
"""Bytes of a mebibyte."""

MIN_JOURNAL_MIB = 4 * SEGMENT_BYTES // MEBIBYTE
"""Mebibytes that the journal may need although all is well: it is deleted in whole segments."""

SETTLE_SECONDS = 10.0
"""How long a shim waits, before it serves, for the registry to say what it has of it."""

THREAD_SWITCH_SECONDS = 0.0005
"""How long one thread may keep the others waiting."""

_FILE = click.Path(path_type=Path, exists=True, dir_okay=False)
_FOLDER = click.Path(path_type=Path, file_okay=False)
_LOOPBACK = ("127.0.0.1", "::1", "localhost")


@click.command()
@click.option(
    "--model",
    "reference",
    required=True,
    metavar="acme/x@1.2.0",
    help="The registered version that answers.",
)
@click.option("--upstream", required=True, metavar="URL", help="The model server's address.")
@click.option(
    "--listen",
    default=DEFAULT_LISTEN,
    show_default=True,
    metavar="HOST:PORT",
    help="Where clients ask; port 0 takes any that is free.",
)
@click.option("--key", type=_FILE, required=True, help="The node's key.")
@click.option(
    "--files",
    type=_FOLDER,
    help="The version's files that the model server uses, as `model fetch` made them. Without it "
    "records say that the model is known by name only.",
)
@click.option(
    "--folder",
    type=_FOLDER,
    default=Path("shim-data"),
    show_default=True,
    help="What the shim remembers; for this shim alone.",
)
@click.option(
    "--mode",
    type=click.Choice(["strict", "stream", "best_effort"]),
    default="stream",
    show_default=True,
    help="What is durable before an answer goes out: intent and outcome, the intent, or nothing.",
)
@click.option(
    "--served-as",
    multiple=True,
    metavar="NAME[/VERSION]",
    help="What the model server calls this model. With it, calls that name another model, or none, "
    "are refused: they would be recorded as this one's. A server with several models needs it.",
)
@click.option(
    "--report",
    "interface",
    type=click.Choice(get_args(Interface)),
    help="Ask the model server over this interface what it serves, at the start and every half "
    "minute; what it says is recorded. Calls stop if it names weights that are not the version's.",
)
@click.option("--upstream-ca", type=_FILE, help="PEM certificates to believe of the model server.")
@click.option(
    "--upstream-cert",
    type=_FILE,
    help="PEM certificate chain to show to a model server that wants to know who asks.",
)
@click.option("--upstream-key", type=_FILE, help="PEM private key of --upstream-cert.")
@click.option("--tls-cert", type=_FILE, help="PEM certificate chain of the proxy.")
@click.option("--tls-key", type=_FILE, help="PEM private key of the proxy.")
@click.option("--engine", default="unknown", help="What the model server is, such as vllm.")
@click.option("--engine-version", default="", help="Its version, as records say it.")
@click.option(
    "--engine-setting",
    "engine_settings",
    type=(click.Choice(get_args(Setting)), str),
    multiple=True,
    metavar="NAME VALUE",
    help="What decides about the last bits, for replays: provider, opt_level, threads, isa (`here` "
    "for this host's).",
)
@click.option("--quantization", default="", help="How its weights are quantized, such as Q4_K_M.")
@click.option(
    "--adapter", "adapters", type=_FILE, multiple=True, help="A file on top of the model."
)
@click.option(
    "--health", metavar="HOST:PORT", help="Answer GET /health there: 200 if green, 503 if red."
)
@click.option(
    "--max-behind",
    type=float,
    callback=seconds,
    default=BEHIND_SECONDS,
    show_default=True,
    metavar="SECONDS",
    help="How long a record may wait to be in the log before health turns red.",
)
@click.option(
    "--max-journal",
    type=click.IntRange(MIN_JOURNAL_MIB, 2**30),
    default=MAX_BYTES // MEBIBYTE,
    show_default=True,
    metavar="MIB",
    help="How much may wait here for the registry before no more calls are recorded: strict and "
    "stream refuse them, best_effort counts them.",
)
@click.option("--tokenizer", type=_FILE, help="A tokenizer that the version does not have.")
@click.option("--chat-template", type=_FILE, help="A chat template instead of the version's.")
@click.option(
    "--otlp",
    metavar="URL",
    help="Tell of every call in a span, by OTLP over HTTP, such as "
    "http://localhost:4318; digests and times, never content.",
)
@click.option(
    "--privacy",
    type=_FILE,
    help="A privacy policy: which fields records commit to, and what is kept, sealed.",
)
@attest_options
@click.pass_context
def command(
    ctx: click.Context,
    *,
    reference: str,
    upstream: str,
    listen: str,
    key: Path,
    files: Path | None,
    folder: Path,
    mode: str,
    served_as: tuple[str, ...],
    interface: Interface | None,
    upstream_ca: Path | None,
    upstream_cert: Path | None,
    upstream_key: Path | None,
    tls_cert: Path | None,
    tls_key: Path | None,
    engine: str,
    engine_version: str,
    engine_settings: tuple[tuple[Setting, str], ...],
    quantization: str,
    adapters: tuple[Path, ...],
    tokenizer: Path | None,
    chat_template: Path | None,
    health: str | None,
    max_behind: float,
    max_journal: int,
    otlp: str | None,
    privacy: Path | None,
    attest: Attest,
) -> None:
    """Stand in front of a model server and record every output with its model version.

    A model server at grpc:// or grpcs:// speaks the Open Inference Protocol, one at http:// or
    https:// any HTTP: OpenAI-compatible, Open Inference REST, or another. Clients use the proxy's
    address instead of the server's, and nothing else changes.
    """
    where = _listen(listen, _pair(tls_cert, tls_key, "--tls-cert, --tls-key"))
    ask_at = None if health is None else Listen(*_address(health))
    shown = _pair(upstream_cert, upstream_key, "--upstream-cert, --upstream-key")
    server = Upstream(upstream, upstream_ca, shown)
    said = Engine(
        engine,
        engine_version,
        quantization,
        adapters,
        tokenizer,
        chat_template,
        dict(engine_settings),
    )
    vault = Vault(folder / VAULT)
    keeping = None if privacy is None else Keeping(_read_privacy(privacy), vault)
    signer = StatementSigner.load(key)
    name, version = split_reference(reference)
    make_folder(folder)
    require_own(folder)
    with verified_client(ctx) as client:
        release = pinned_release(client, name, version, PinnedFile(folder / "release.json"))
        # First, so that nothing changes unseen between its reading and the first call.
        watch = ModelWatch(release, files, said.files)
        described = Description.of(release, said, upstream=upstream, files_verified=watch.count)
        with (
            reporting(interface, server, release, served_as) as reports,
            attesting(attest, client, signer.public_key, release) as attestation,
            open_shim(
                folder,
                signer,
                client,
                release,
                None,
                log_key=client.log_key,
                replays=ReplayCalls(client),
                max_journal_bytes=max_journal * MEBIBYTE,
                chosen=chosen(
                    served(described, said, cast("Mode", mode), served_as, interface or ""),
                    attest,
                    attestation,
                    keeping,
                ),
            ) as shim,
            spans_to(otlp) as spans,
        ):
            if keeping is not None:
                vault.sweep()
            if reports is not None:
                described = replace(described, report=reports.newest)
            standing = Standing(shim.recorder, described, attestation)
            healthy = {"model": watch.check} if files is not None or said.files else {}
            allowed = list(healthy.values())
            if reports is not None:
                reports.follow(standing.reported)
                healthy["report"] = reports.told
                allowed.append(reports.check)
            if attestation is not None:
                healthy["attestation"] = attestation.check
                allowed.append(attestation.require)
            if mode == "strict":
                # A receipt that will never be proven is none.
                allowed.append(shim.uploader.require_taken)
            shim.uploader.settle(SETTLE_SECONDS)
            watched = Watched(shim, mode, healthy, max_behind)
            serve = _serve(
                shim,
                where,
                server,
                standing,
                checks=allowed,
                mode=cast("Mode", mode),
                served_as=served_as,
                told=telling(ask_at, watched.health),
                watched=watched,
                spans=spans,
                keeping=keeping,
            )
            asyncio.run(serve)
        tell_what_waits(shim)


async def _serve(
    shim: Shim,
    listen: Listen,
    upstream: Upstream,
    standing: Standing,
    *,
    checks: Sequence[Callable[[], None]],
    mode: Mode,
    served_as: tuple[str, ...],
    told: AbstractAsyncContextManager[int | None],
    watched: Watched,
    spans: Spans,
    keeping: Keeping | None,
) -> None:
    # The journal's thread must not wait for its turn while this one is busy, nor the other way.
    sys.setswitchinterval(THREAD_SWITCH_SECONDS)
    raise_limit()
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)

    def allowed() -> None:
        for check in checks:
            check()

    calls = Calls(
        shim.recorder,
        shim.unrecorded,
        standing,
        Awaiting(loop),
        mode,
        allowed=allowed,
        levels=shim.levels,
        spans=spans,
        keeping=keeping,
        served_as=served_as,
    )
    async with serving(listen, upstream, calls) as port, told as health_port:
        deployment = standing()
        model = deployment.model
        say(f"recording {model.name}@{model.version} for {upstream.url}, mode {mode}")
        if health_port is not None:
            say(f"  health at port {health_port}, path {PATH}")
        say(f"  listening on {listen.host}:{port}, shim {shim.shim_id}")
        if deployment.binding == "name_only":
            say("  the model is known by name only; --files would compare and watch its files")
        looking = asyncio.ensure_future(tell_troubles(watched.health))
        # What is there now stays until the end: no call waits while it is looked at for garbage.
        gc.collect()
        gc.freeze()
        await stop.wait()
        looking.cancel()
        say("stopping: calls under way may end, and what was recorded is sent")


def _read_privacy(path: Path) -> PrivacyPolicy:
    policy = read_record(path, PrivacyPolicy, "privacy policy")
    policy.check()
    return policy


def _pair(certificate: Path | None, key: Path | None, where: str) -> Pair | None:
    if certificate is not None and key is not None:
        return Pair(certificate, key)
    if certificate is None and key is None:
        return None
    raise MalformedError(Reason.BAD_SETTING, "TLS takes a certificate and its key", where=where)


def _listen(address: str, pair: Pair | None) -> Listen:
    host, port = _address(address)
    if host not in _LOOPBACK and pair is None:
        raise MalformedError(
            Reason.BAD_SETTING,
            "prompts and answers would travel readably for everybody",
            where=address,
            hint="listen on 127.0.0.1, or give --tls-cert and --tls-key",
        )
    return Listen(host, port, pair)


def _address(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not host or not port.isascii() or not port.isdigit() or int(port) > 65535:  # noqa: PLR2004
        raise MalformedError(
            Reason.BAD_SETTING, "this is no address", expected="HOST:PORT", actual=address[:100]
        )
    return host, int(port)
