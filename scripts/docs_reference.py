"""What the documentation must say, read from the code: command line, settings, names.

`scripts/check_docs.py --write` puts the generated tables into the pages; without `--write` it
fails when a page differs from them.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, get_args

BEGIN = "<!-- begin generated: scripts/check_docs.py --write -->"
END = "<!-- end generated -->"
RULES = ("SMALL_SIDE", "DETAIL_SIDE")


@dataclass(frozen=True)
class Parameter:
    """One argument or option of a verb.

    Args:
        names: as they are typed, for example ("--out",).
        required: it must be given.
        flag: an option without a value.
        help: the sentence that `--help` shows.
    """

    names: tuple[str, ...]
    required: bool
    flag: bool
    help: str

    @property
    def is_option(self) -> bool:
        """Whether it is given by name."""
        return self.names[0].startswith("-")


def commands() -> dict[str, Any]:
    """Return every command by what is typed ("train", "keys create"), as the program defines it."""
    import typer

    from clearsight.cli.main import VERBS, module_of

    found: dict[str, Any] = {}
    for verb in VERBS:
        stem = module_of(verb)
        defined = getattr(importlib.import_module(f"clearsight.cli.{stem}"), stem)
        if isinstance(defined, typer.Typer):
            group: Any = typer.main.get_command(defined)
            found |= {f"{verb} {name}": command for name, command in group.commands.items()}
        else:
            app = typer.Typer(add_completion=False)
            app.command(name=verb, help=VERBS[verb])(defined)
            found[verb] = typer.main.get_command(app)
    return found


def verbs() -> dict[str, list[Parameter]]:
    """Return every command with its parameters."""
    return {name: _parameters(command) for name, command in commands().items()}


def command_line_table() -> str:
    """Return the command-line reference: one section a command."""
    parts = []
    for name, command in commands().items():
        parameters = _parameters(command)
        words = [_usage(item) for item in parameters if not item.is_option]
        needed = [
            f"{item.names[0]} VALUE" for item in parameters if item.is_option and item.required
        ]
        usage = " ".join(["clearsight", name, *words, *needed, "[OPTIONS]"])
        rows = [(_shown(item), _yes(item.required), item.help) for item in parameters]
        rows.append(("`--help`", "no", "Show the verb's options and exit."))
        parts += [f"### {name}", str(command.help), f"```text\n{usage}\n```"]
        parts.append(_table(("argument or option", "required", "meaning"), rows))
    return "\n\n".join(parts)


def settings_table() -> str:
    """Return the settings of a training and of every family: name, type, default."""
    from clearsight.learn.family import FAMILIES
    from clearsight.learn.settings import TrainSettings

    header = ("setting", "type", "default")
    parts = ["### Training", _table(header, list(_fields(TrainSettings, "")))]
    for key in FAMILIES.keys():  # noqa: SIM118 - a Registry is no dictionary
        rows = list(_fields(FAMILIES.load(key).Config, "family."))
        parts += [f"### Family {key}", _table(header, rows) if rows else "It has no settings."]
    return "\n\n".join(parts)


def options_table() -> str:
    """Return every key that a setting may name, with its own options."""
    from clearsight.learn.augment import AUGMENTS
    from clearsight.learn.averaging import AVERAGES
    from clearsight.learn.descriptors import DESCRIPTORS
    from clearsight.learn.encoders import ENCODERS
    from clearsight.learn.heads import HEADS
    from clearsight.learn.losses import LOSSES
    from clearsight.learn.mixes import MIXES
    from clearsight.learn.optimizers import OPTIMIZERS
    from clearsight.learn.samplers import SAMPLERS
    from clearsight.learn.schedules import SCHEDULES

    registries = {
        "training.loss": LOSSES,
        "training.optimizer": OPTIMIZERS,
        "training.schedule": SCHEDULES,
        "training.averaging": AVERAGES,
        "training.augment": AUGMENTS,
        "training.mix": MIXES,
        "training.sampler": SAMPLERS,
        "family.features": DESCRIPTORS,
        "family.encoder": ENCODERS,
        "family.head": HEADS,
    }
    parts = []
    for setting, registry in registries.items():
        rows = [
            (f"`{key}`", ", ".join(_options(registry.load(key))))
            for key in registry.keys()  # noqa: SIM118 - a Registry is no dictionary
        ]
        parts += [f"### {setting}", _table(("key", "options and defaults"), rows)]
    return "\n\n".join(parts)


def _options(made: Any) -> list[str]:
    fields = made.Config.model_fields
    return [
        f"`{name}={field.get_default(call_default_factory=True)!r}`"
        for name, field in fields.items()
    ] or ["none"]


def limits_table() -> str:
    """Return the bounds of a service: name and default."""
    from clearsight.serve.service import ServiceLimits

    fields = ServiceLimits.model_fields
    rows = [(f"`{name}`", f"`{field.default!r}`") for name, field in fields.items()]
    return _table(("limit", "default"), rows)


def statuses_table() -> str:
    """Return every problem the service reports: HTTP status, type, title."""
    from clearsight.serve.status import IMAGE_STATUSES, STATUSES, UNEXPECTED

    every = {item.slug: item for item in (*STATUSES.values(), *IMAGE_STATUSES.values(), UNEXPECTED)}
    ordered = sorted(every.values(), key=lambda item: (item.http, item.slug))
    rows = [
        (str(item.http), f"`urn:clearsight:problem:{item.slug}`", item.title) for item in ordered
    ]
    return _table(("status", "type", "title"), rows)


def errors_table() -> str:
    """Return every error type of `core/errors.py` with its exit code and meaning."""
    from clearsight.core import errors

    rows = [
        (f"`{kind.__name__}`", str(kind.exit_code), (kind.__doc__ or "").split("\n")[0])
        for kind in vars(errors).values()
        if isinstance(kind, type) and issubclass(kind, errors.ClearsightError)
    ]
    return _table(("error", "exit code", "meaning"), rows)


GENERATED: dict[str, list[Callable[[], str]]] = {
    "docs/reference/command-line.md": [command_line_table],
    "docs/reference/configuration.md": [settings_table, options_table],
    "docs/reference/errors.md": [errors_table],
    "docs/reference/http.md": [statuses_table, limits_table],
}
"""What stands between the markers of a page, in order."""


def must_name() -> dict[str, set[str]]:
    """Return, for each reference page, the words it must name in code style."""
    from clearsight.core.bundle import CARD, GOLDEN_SCORES, MANIFEST, MODEL, WEIGHTS, Manifest
    from clearsight.core.errors import ImageReason
    from clearsight.core.nouns import Preprocessing
    from clearsight.data.listing import READERS
    from clearsight.learn import choose
    from clearsight.learn.family import FAMILIES

    files = {MANIFEST, MODEL, WEIGHTS, CARD, GOLDEN_SCORES}
    return {
        "docs/reference/bundle.md": {
            *Manifest.model_fields,
            *(f"preprocessing.{name}" for name in Preprocessing.model_fields),
            *files,
        },
        "docs/reference/errors.md": {*get_args(ImageReason), "0", "1", "2", "3"},
        "docs/explanation/choosing-a-model.md": {
            *FAMILIES.keys(),
            *(f"{name} = {getattr(choose, name)!r}" for name in RULES),
        },
        "docs/reference/data-layouts.md": set(READERS.keys()),
        "docs/reference/http.md": {
            *("/v1/recognize", "/v1/models", "/livez", "/readyz", "/metrics", "/openapi.json", "/")
        },
    }


def _fields(model: Any, prefix: str) -> Iterator[tuple[str, str, str]]:
    for name, field in model.model_fields.items():
        inner = getattr(field.annotation, "model_fields", None)
        if inner is not None:
            yield from _fields(field.annotation, f"{prefix}{name}.")
            continue
        default = (
            "required"
            if field.is_required()
            else f"`{field.get_default(call_default_factory=True)!r}`"
        )
        yield (f"`{prefix}{name}`", f"`{_type_name(field.annotation)}`", default)


def _type_name(annotation: Any) -> str:
    text = (
        annotation.__name__
        if isinstance(annotation, type) and not get_args(annotation)
        else str(annotation)
    )
    text = text.replace("typing.", "").replace("clearsight.learn.training.", "")
    return re.sub(r"^Optional\[(.*)\]$", r"\1 or None", text).replace("|", "or")


def _shown(item: Parameter) -> str:
    if not item.is_option:
        return f"`{item.names[0].upper()}`"
    value = "" if item.flag else " VALUE"
    return ", ".join(f"`{name}{value}`" for name in item.names)


def _parameters(command: Any) -> list[Parameter]:
    return [
        Parameter(
            names=tuple(item.opts),
            required=bool(item.required),
            flag=bool(getattr(item, "is_flag", False)),
            help=str(getattr(item, "help", "") or ""),
        )
        for item in command.params
    ]


def _usage(item: Parameter) -> str:
    return item.names[0].upper() if item.required else f"[{item.names[0].upper()}]"


def _yes(value: bool) -> str:
    return "yes" if value else "no"


def _table(header: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    lines = [header, tuple("---" for _ in header), *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)
