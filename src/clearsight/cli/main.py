"""`clearsight`: one small file a verb, imported only when the verb is used."""

from __future__ import annotations

import importlib
import io
import json
import keyword
import os
import sys
import time
from collections.abc import Callable
from typing import Any, NoReturn

STARTED = time.monotonic()

import typer  # noqa: E402
from typer.core import TyperGroup  # noqa: E402

from clearsight.core.errors import ClearsightError, UsageError, nearest  # noqa: E402

INTERRUPTED = 130
Command = Any
"""Typer carries its own copy of click, whose classes have no public name."""
BUG = "This is a bug in clearsight; set CLEARSIGHT_DEBUG=1 to see where, and report it."

VERBS = {
    "check": "Look a data set over before training.",
    "train": "Train a recognizer from a folder of labelled images.",
    "tune": "Search for the best settings within a time, and train them.",
    "evaluate": "Score a recognizer on held-out pictures and write the report.",
    "explain": "Show why a recognizer says so, and whether that is true.",
    "compare": "Rank recognizers and say which of them differ.",
    "leaderboard": "Train many recognizers for the same time and rank them.",
    "import": "Make a run out of a model from elsewhere: ONNX, Keras, safetensors, timm.",
    "stress": "Measure what breaks a recognizer: corruptions, deformations, attacks.",
    "optimize": "Make a recognizer faster: int8, fp16, bf16, behind a gate.",
    "predict": "Recognize files and folders into a table.",
    "serve": "Serve recognizers over HTTP, with a page to try them.",
    "bench-serve": "Put a service under load and measure it.",
    "registry": "Versions of models: add, promote, roll back, canary, shadow, backup.",
    "keys": "Make, list, rotate and revoke the keys of the service.",
    "feedback": "Corrections that clients sent: make a data set of them, or clear them.",
    "doctor": "Say what is installed, usable and missing, and how to get it.",
    "demo": "The whole road on real pictures: check, train, evaluate, serve.",
}


class LazyVerbs(TyperGroup):
    """Imports a verb's file only when that verb is called."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Return every verb in the order of the road."""
        return list(VERBS)

    def get_command(self, ctx: Any, cmd_name: str) -> Command | None:
        """Return one verb's command; for the overview a stand-in that imports nothing."""
        if cmd_name not in VERBS:
            return None
        if ctx.resilient_parsing or _overview(sys.argv[1:]):
            return _command(cmd_name, lambda: None)
        stem = module_of(cmd_name)
        module = importlib.import_module(f"clearsight.cli.{stem}")
        return _command(cmd_name, getattr(module, stem))

    def resolve_command(
        self, ctx: Any, args: list[str]
    ) -> tuple[str | None, Command | None, list[str]]:
        """Resolve the verb, or fail naming the nearest one."""
        if args and args[0] not in VERBS and not args[0].startswith("-"):
            ctx.fail(f"Unknown command {args[0]!r}.{nearest(args[0], VERBS)}")
        return super().resolve_command(ctx, args)


def module_of(verb: str) -> str:
    """Return the name of a verb's file and of what it defines; `import` is a word of Python.

    Example:
        >>> module_of("bench-serve"), module_of("import")
        ('bench_serve', 'import_')
    """
    return verb.replace("-", "_") + ("_" if keyword.iskeyword(verb) else "")


def _command(name: str, verb: Callable[..., None] | typer.Typer) -> Command:
    """Return the command of a verb: one function, or a group such as `keys create|list`."""
    if isinstance(verb, typer.Typer):
        group = verb
        group.info.help = VERBS[name]
    else:
        group = typer.Typer(add_completion=False, rich_markup_mode=None)
        group.command(name=name, help=VERBS[name])(verb)
    return typer.main.get_command(group)


app = typer.Typer(
    cls=LazyVerbs,
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(value: bool) -> None:
    if value:
        from clearsight.core.version import __version__

        print(f"clearsight {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: bool = typer.Option(
        False, "--version", callback=_version, is_eager=True, help="Show the version and exit."
    ),
) -> None:
    """Turn a folder of labelled images into a recognizer you can trust, and run it as a service."""


def main() -> None:
    """Run the command line; exit codes: 0 ok, 1 failed, 2 usage, 3 a gate was not met."""
    for stream in (sys.stdout, sys.stderr):  # a file name may hold what the terminal cannot show
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        code = app(standalone_mode=False)
        if code == INTERRUPTED:  # how typer tells of Ctrl-C
            raise KeyboardInterrupt
        sys.exit(code)
    except ClearsightError as error:
        _fail(error.exit_code, type(error).__name__, str(error))
    except (KeyboardInterrupt, typer.Abort):
        _fail(INTERRUPTED, "Interrupted", "Interrupted.")
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except Exception as error:
        if message := getattr(error, "format_message", None):  # typer's own: an unknown option
            error.show()  # type: ignore[attr-defined]
            _fail(UsageError.exit_code, "UsageError", message(), shown=True)
        if os.environ.get("CLEARSIGHT_DEBUG"):
            raise
        _fail(1, "InternalError", f"internal error, {type(error).__name__}: {error}. {BUG}")


def _fail(code: int, kind: str, message: str, shown: bool = False) -> NoReturn:
    if not shown:
        print(f"error: {message}", file=sys.stderr)
    if "--json" in sys.argv:
        print(json.dumps({"error": {"type": kind, "message": message}}))
    sys.exit(code)


def _overview(args: list[str]) -> bool:
    return not args or args[0] in ("-h", "--help")
