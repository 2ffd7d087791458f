"""Every command of the README runs, in the order in which it stands there."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import click
import pytest

from registry.cli.main import NOUNS, provreg
from tools.free_ports import free_port

README = Path(__file__).parents[2] / "README.md"
SERVE = "provreg serve --data registry-data"
WITNESS = "provreg witness serve --data witness-data"
SESSION_SECONDS = 300

HTTP, WITNESSING, SHIM = "127.0.0.1:7071", "127.0.0.1:7080", "127.0.0.1:8790"
"""Where these listen if not told otherwise; a test takes ports that are free."""

MODELS = ("8001 8000", "127.0.0.1:8000")
"""Where the README's model server listens, as it stands in two commands."""


def console_commands() -> list[str]:
    blocks = re.findall(r"```console\n(.*?)```", README.read_text(), re.DOTALL)
    return [line[2:] for block in blocks for line in block.splitlines() if line.startswith("$ ")]


def test_the_session_of_the_readme_works_from_first_to_last_command(tmp_path: Path) -> None:
    # Where there is a port for gRPC, HTTP takes the next one.
    port, witness, shim, model = (free_port(2) for _ in range(4))
    commands = console_commands()
    assert commands[0].startswith(SERVE)
    script = ["set -e -m", "trap 'jobs -p | xargs -r kill' EXIT"]
    for command in commands:
        changed = command.replace(SERVE, f"{SERVE} --listen 127.0.0.1:{port}")
        changed = changed.replace(WITNESS, f"{WITNESS} --listen 127.0.0.1:{witness}")
        changed = changed.replace(HTTP, f"127.0.0.1:{port + 1}")
        changed = changed.replace(WITNESSING, f"127.0.0.1:{witness}")
        changed = changed.replace(MODELS[0], f"{model + 1} {model}")
        changed = changed.replace(MODELS[1], f"127.0.0.1:{model}")
        changed = changed.replace(SHIM, f"127.0.0.1:{shim}")
        changed = changed.replace(" shim --", f" shim --listen 127.0.0.1:{shim} --")
        if command.startswith("provreg log checkpoint --policy"):
            # A person reads for a moment; by then the witness has been asked.
            changed = f"until {changed}; do sleep 0.2; done"
        script.append(changed)
        if command.endswith("&"):
            begun = port
            for word, other in ((WITNESS, witness), (" shim ", shim), ("model_server", model)):
                begun = other if word in command else begun
            script.append(
                f"until (echo > /dev/tcp/127.0.0.1/{begun}) 2>/dev/null; do sleep 0.1; done"
            )
    environment = {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "HOME": str(tmp_path),
        "PROVREG_SERVER": f"127.0.0.1:{port}",
        # The tools of a checkout, which are in no package.
        "PYTHONPATH": str(README.parent),
    }
    done = subprocess.run(
        [shutil.which("bash") or "bash", "-c", "\n".join(script)],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=SESSION_SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / "fetched" / "config.json").read_bytes() == (
        tmp_path / "model" / "config.json"
    ).read_bytes()
    assert "0 faults" in done.stdout
    assert "ROOT OF NO VENDOR" in done.stdout
    assert "judged again here: 1 of 1 come to the same" in done.stdout
    assert "1 judged again, 1 changed" in done.stdout


@pytest.mark.parametrize("noun", NOUNS)
def test_the_readme_shows_every_noun(noun: str) -> None:
    assert re.search(rf"^\$? ?provreg (--\S+ \S+ )*{noun}\b", README.read_text(), re.MULTILINE)


@pytest.mark.parametrize(
    "variable", sorted(set(re.findall(r"PROVREG_[A-Z_]+", Path("registry/config.py").read_text())))
)
def test_the_readme_names_every_setting(variable: str) -> None:
    assert variable in README.read_text()


def spoken() -> list[str]:
    """Commands that the README only speaks of: in code within a line, or in blocks to be read."""
    text = README.read_text()
    blocks = re.findall(r"^```(\w*)\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    lines = [line for kind, block in blocks if not kind for line in block.splitlines()]
    shown = [line for line in lines if line.startswith("provreg ")]
    prose = re.sub(r"^```.*?^```$", "", text, flags=re.DOTALL | re.MULTILINE)
    spans = [" ".join(span.split()) for span in re.findall(r"`([^`]+)`", prose)]
    named = [span for span in spans if span.startswith("provreg ") or span.split()[0] in NOUNS]
    return sorted({line.partition("  #")[0].strip() for line in shown + named})


COMMANDS = spoken()


def options_of(command: click.Command) -> set[str]:
    return {name for item in command.params for name in (*item.opts, *item.secondary_opts)}


@pytest.mark.parametrize("line", COMMANDS)
def test_the_readme_speaks_of_no_command_that_is_not_there(line: str) -> None:
    context = click.Context(provreg)
    command: click.Command = provreg
    known = options_of(provreg)
    for word in line.removeprefix("provreg ").split():
        if word.startswith("--"):
            assert word.partition("=")[0].rstrip(".,") in known | {"--help"}, word
        elif isinstance(command, click.Group):
            found = command.get_command(context, word.split("|")[0])
            assert found is not None, word
            command = found
            known |= options_of(command)


@pytest.mark.parametrize("option", sorted(set(re.findall(r"`(--[a-z-]+)[ `]", README.read_text()))))
def test_the_readme_names_no_option_that_is_not_there(option: str) -> None:
    def everything(command: click.Command) -> set[str]:
        found = options_of(command)
        if isinstance(command, click.Group):
            for name in command.list_commands(click.Context(command)):
                inner = command.get_command(click.Context(command), name)
                assert inner is not None
                found |= everything(inner)
        return found

    assert option in everything(provreg)
