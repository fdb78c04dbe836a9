"""The entry point: all commands, and what happens to their errors.

Exit codes: 0 done (of run and resume: verified), 1 an error, 2 a request that cannot be carried out as given, 3 the run waits,
4 it ended otherwise than verified, 130 and 143 stopped by Ctrl-C and by a termination signal.
"""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Callable, Mapping
from typing import Annotated

import typer

from overwinter.cli.answers import approve, deny, send, stop
from overwinter.cli.benching import COMMANDS as BENCH_COMMANDS
from overwinter.cli.benching import bench_app
from overwinter.cli.branching import fork, replay
from overwinter.cli.checking import check
from overwinter.cli.crediting import credit
from overwinter.cli.flags import takes_groups
from overwinter.cli.forgetting import core, erase, export, grant, import_, policy, write
from overwinter.cli.generating import generate
from overwinter.cli.learning import learn
from overwinter.cli.looking import log, ls, why
from overwinter.cli.models import bench, convert, info
from overwinter.cli.refitting import refit, vectors
from overwinter.cli.remembering import check as memory_check
from overwinter.cli.remembering import diff, rebuild, search, show, stats, timeline
from overwinter.cli.remembering import why as provenance
from overwinter.cli.serving import serve
from overwinter.cli.training import train
from overwinter.cli.upkeep import doctor, gc
from overwinter.cli.watching import watch
from overwinter.cli.working import resume, run
from overwinter.errors import OverwinterError, UsageError

ERROR, USAGE, WAITING, NOT_VERIFIED = 1, 2, 3, 4

# Without rich's markup typer does not import rich, which would cost a third of the time `--help` may take.
app = typer.Typer(
    name="overwinter",
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["--help", "-h"], "max_content_width": 110},
    epilog="Each command has --json and --help. Guide: docs/cli.md",
)

COMMANDS: tuple[Callable[..., None], ...] = (
    run,
    resume,
    ls,
    log,
    why,
    watch,
    approve,
    deny,
    send,
    stop,
    fork,
    check,
    credit,
    learn,
    replay,
    serve,
    generate,
    train,
    doctor,
    gc,
)
for _command in COMMANDS:
    app.command(_command.__name__)(takes_groups(_command))

GROUPS: Mapping[str, tuple[Callable[..., None], ...]] = {
    "memory": (
        search,
        show,
        provenance,
        timeline,
        diff,
        stats,
        write,
        core,
        erase,
        policy,
        grant,
        export,
        import_,
        memory_check,
        rebuild,
        refit,
        vectors,
    ),
    "model": (info, convert, bench),
    "bench": BENCH_COMMANDS,
}
_HELP = {
    "memory": "What runs have ever seen: found again, explained, kept or erased.",
    "model": "Model folders: look at one, convert it, measure it.",
}
for _name, _commands in GROUPS.items():
    if _name == "bench":
        app.add_typer(bench_app, name=_name)
        continue
    _group = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help=_HELP[_name])
    for _command in _commands:
        _group.command(_command.__name__)(takes_groups(_command))
    app.add_typer(_group, name=_name)


def _version(wanted: bool) -> None:
    if wanted:
        import overwinter

        typer.echo(f"overwinter {overwinter.__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Give an open-weight model a goal, a budget and tools; it works until the goal is verified.

    You can kill a run, move it, question it and approve what it does, because everything it did is one journal.
    """


def main() -> None:
    """Run the command line and exit with its code."""
    # A warning is for whoever uses the program, who has no interest in the line of code it comes from.
    before, warnings.formatwarning = warnings.formatwarning, lambda message, *_, **__: f"note: {message}\n"
    try:
        app(prog_name="overwinter")
    except OverwinterError as error:
        _say(error)
        sys.exit(USAGE if isinstance(error, UsageError) else ERROR)
    except BrokenPipeError:
        # `overwinter log | head`: the reader has seen enough.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(ERROR)
    finally:
        warnings.formatwarning = before


def _say(error: OverwinterError) -> None:
    from overwinter.cli.output import visible

    sys.stderr.write(f"error: {visible(error.problem)}\n  → {visible(error.next_step)}\n")
