"""Options that many commands share, and where their results go."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
import yaml

from crosslens.cli import completion
from crosslens.data.names import read_name
from crosslens.support.errors import ConfigError
from crosslens.support.terminal import echo, print_json

if TYPE_CHECKING:
    from crosslens.evaluation.scenarios import ScenarioDraw

_SKIPS = 20
"""Images named on the screen that were left out."""
_OTHERS = (".csv", ".tsv", ".parquet", ".md", ".tex", ".html", ".htm", ".txt", ".xlsx", ".png")


def _require_json(target: Path | None) -> Path | None:
    if target is not None and target.suffix.lower() in _OTHERS:
        raise ConfigError(f"--json writes JSON, and {target.name!r} is named like another kind of file")
    return target


Json = Annotated[
    Path | None,
    typer.Option(
        "--json", callback=_require_json, help="Write the result as JSON to this file; - for the screen."
    ),
]


def _set_quiet(quiet: bool) -> bool:
    from crosslens.support.progress import set_quiet

    set_quiet(quiet)
    return quiet


Quiet = Annotated[
    bool,
    typer.Option("--quiet", "-q", callback=_set_quiet, help="Results and errors alone: no progress, no notes."),
]


def _require_device(name: str | None) -> str | None:
    # Also where everything is cached and none is needed: a wrong name should not pass for that.
    if name is not None:
        from crosslens.backbones.devices import require_device

        require_device(name)
    return name


Device = Annotated[
    str | None,
    typer.Option(
        "--device",
        callback=_require_device,
        help="cpu, cuda, cuda:1 or torch-cpu; a GPU is used when there is one.",
    ),
]
Workers = Annotated[
    int | None, typer.Option("--workers", min=1, help="Decoding threads; one a processor by default.")
]
Backbone = Annotated[
    str,
    typer.Option(
        "--backbone",
        "-b",
        autocompletion=completion.BACKBONES,
        help="lite (offline), or KIND:SOURCE such as clip:./clip-vit-b-32.",
    ),
]
Domains = Annotated[
    str | None,
    typer.Option("--domains", help="Domains by name, separated by commas: sketch,photo. All by default."),
]
Features = Annotated[
    Path | None, typer.Option("--features", help="A feature folder from 'crosslens embed'; the cache by default.")
]
Where = Annotated[
    str | None,
    typer.Option(
        "--where",
        help="Only items for which this holds, such as: domain = 'photo' and not label in ('dog', 'cat')."
        " Fields: id, path, root, domain, label, size (bytes), modified (seconds since 1970, or a whole day:"
        " '2026-01-31'), and the index's own columns, which 'crosslens index info' lists: taken >= '2026-01-01'"
        " and camera = 'X100V'.",
    ),
]
Goal = Annotated[
    str | None,
    typer.Option(
        "--goal",
        autocompletion=completion.GOALS,
        help="thing: this very thing in another look, so that what is near every query counts less; kind: more of"
        " its kind. See the docs (goal).",
    ),
]
Split = Annotated[
    str | None,
    typer.Option(
        "--split",
        help="Of images whose manifest has a column 'split': only these splits, separated by commas; all for every"
        " image, none for those without one.",
    ),
]
Unseen = Annotated[
    str | None,
    typer.Option(
        "--unseen",
        help="Classes kept out of training: names separated by commas, a number to draw, or a published split,"
        " which 'crosslens data benchmarks' lists. A class called 3 is '3,'.",
    ),
]


def _require_mode(name: str) -> str:
    from crosslens.backbones import require_decode_mode

    require_decode_mode(name)
    return name


Decode = Annotated[
    str,
    typer.Option(
        "--decode",
        callback=_require_mode,
        autocompletion=completion.DECODE_MODES,
        help="exact, or fast: scaled JPEG decoding, several times faster on large photos.",
    ),
]


def _set_limit(million: float | None) -> float | None:
    if million is not None:
        from crosslens.images.limits import set_max_pixels

        set_max_pixels(round(million * 1e6))
    return million


MaxPixels = Annotated[
    float | None,
    typer.Option(
        "--max-pixels",
        min=0.001,
        callback=_set_limit,
        help="Million pixels an image may have, 89 by default; CROSSLENS_MAX_PIXELS sets it too.",
    ),
]
Shared = Annotated[
    int | None, typer.Option("--shared", min=1, help="Scenarios: classes both domains have; half by default.")
]
PrivateQuery = Annotated[
    int | None, typer.Option("--private-query", min=0, help="Scenarios: classes of the query domain alone.")
]
PrivateGallery = Annotated[
    int | None, typer.Option("--private-gallery", min=0, help="Scenarios: classes of the gallery domain alone.")
]
Draw = Annotated[
    int | None, typer.Option("--draw", help="Scenarios: seed of the draw of classes; 2024 by default.")
]


def split_names(value: str | None) -> list[str] | None:
    """``a,b`` to ``[a, b]``; None stays None.

    Raises:
        ConfigError: for an empty name, or one with a line end.
    """
    if value is None:
        return None
    try:
        return [read_name(name) for name in value.split(",")]
    except ValueError as error:
        raise ConfigError(f"{value!r} holds a name that {error}; write A,B") from None


def scenario_draw(
    protocol: str | None,
    shared: int | None,
    private_query: int | None,
    private_gallery: int | None,
    seed: int | None,
) -> ScenarioDraw | None:
    """What the options say of a scenario; None without a scenario protocol.

    Raises:
        ConfigError: when numbers of classes or a draw come without a scenario.
    """
    from crosslens.evaluation.scenarios import KINDS, ScenarioDraw

    if protocol in KINDS:
        return ScenarioDraw(protocol, shared, private_query, private_gallery, seed)
    if any(number is not None for number in (shared, private_query, private_gallery, seed)):
        raise ConfigError(f"a draw and numbers of classes need --protocol {', '.join(KINDS)}")
    return None


def parse_settings(pairs: Sequence[str]) -> dict[str, Any]:
    """``key=value`` pairs to a dictionary; values are read as YAML, so ``5``, ``0.1``, ``true``, ``[6, 12]`` work.

    Raises:
        ConfigError: for a pair without ``=`` or a value that is no YAML.
    """
    settings: dict[str, Any] = {}
    for pair in pairs:
        key, equals, text = pair.partition("=")
        if not equals or not key:
            raise ConfigError(f"--set takes key=value, not {pair!r}")
        try:
            settings[key.strip()] = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise ConfigError(f"--set {pair!r}: the value cannot be read: {error}") from error
        # YAML reads 1e-3 as a string; a number is what everybody means.
        if isinstance(settings[key.strip()], str):
            settings[key.strip()] = _number_or_text(settings[key.strip()])
    return settings


def tell_skipped(skipped: Sequence[str]) -> None:
    """Name images that were left out, each with its reason."""
    for sentence in skipped[:_SKIPS]:
        echo(f"skipped: {sentence}", err=True)
    if len(skipped) > _SKIPS:
        echo(f"... and {len(skipped) - _SKIPS} more; --json lists them all", err=True)


def describe_left_out(left_out: Mapping[str, int]) -> str:
    """``, 3 files left out (.mov 2, .psd 1)``: pictures and films of other formats; empty where there are none."""
    if not left_out:
        return ""
    each = ", ".join(f"{suffix} {count}" for suffix, count in left_out.items())
    count = sum(left_out.values())
    return f", {count} file{'s' * (count != 1)} left out, being of formats that are not read ({each})"


def is_shown(quiet: bool, json: Path | None) -> bool:
    """Whether it is told what was done: not with ``--quiet``, nor where the result's JSON goes to the screen."""
    return not quiet and is_free(json)


def is_free(target: Path | None) -> bool:
    """Whether standard output is free for a result in words, which ``--quiet`` never keeps back."""
    return str(target) != "-"


def emit_json(target: Path | None, value: Any) -> None:
    """Write a result where ``--json`` says; nowhere without it."""
    from crosslens.support.files import write_json

    if target is None:
        return
    if str(target) == "-":
        print_json(value)
    else:
        write_json(target, value)


def _number_or_text(text: str) -> Any:
    try:
        return float(text)
    except ValueError:
        return text
