"""``crosslens fit``."""

from __future__ import annotations

from pathlib import Path
from textwrap import fill, indent
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from crosslens.cli import completion
from crosslens.cli.early import require_backbones, require_name, require_sources
from crosslens.cli.jobs import as_job
from crosslens.cli.options import (
    Backbone,
    Decode,
    Device,
    Domains,
    Draw,
    Features,
    Json,
    MaxPixels,
    PrivateGallery,
    PrivateQuery,
    Quiet,
    Shared,
    Split,
    Unseen,
    Workers,
    emit_json,
    parse_settings,
    scenario_draw,
    split_names,
)
from crosslens.methods import AUTO, METHODS, known_methods
from crosslens.support.errors import ConfigError
from crosslens.support.terminal import echo


class FitCommand(TyperCommand):
    """A command whose help ends with what each method is; to know it takes importing them all."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """As every command's, with the methods at its end."""
        from crosslens.methods import method_class

        lines = (f"{name}: {method_class(name).summary}." for name in known_methods())
        auto = "auto: one of these, chosen by what there is, and centred where training does not seem to help."
        self.epilog = "\n\n".join(["Methods:", auto, *lines])
        super().format_help(ctx, formatter)


def print_settings(ctx: typer.Context, wanted: bool) -> None:
    """Print every setting of METHOD with default, type and meaning, and leave."""
    if not wanted:
        return
    method = ctx.params["method"]
    if method == AUTO:
        raise ConfigError("auto has no settings: it chooses them with the method; see what it takes by --explain")
    require_name("method", method, known_methods())
    from crosslens.methods import method_class
    from crosslens.methods.settings import settings_of

    for setting in settings_of(method_class(method).Config):
        echo(f"{setting.name}={setting.default}  ({setting.kind})")
        echo(indent(fill(setting.meaning, 106, break_on_hyphens=False), "    "))
    raise typer.Exit


def fit(
    method: Annotated[
        str,
        typer.Argument(
            help=f"auto, {', '.join(METHODS)}, or a plug-in's.", is_eager=True, autocompletion=completion.METHODS
        ),
    ],
    root: Annotated[
        str | None,
        typer.Argument(help="A folder root/<domain>/..., a manifest or a list; some methods need none."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="The run folder to make; --explain alone does without.")
    ] = None,
    domains: Domains = None,
    backbone: Backbone = "lite",
    tune: Annotated[
        str | None,
        typer.Option(
            "--tune",
            autocompletion=completion.TUNES,
            help="head (minutes on a CPU), full (a GPU) or prompts (CLIP).",
        ),
    ] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="A setting of the method, key=value; again for more.")
    ] = None,
    show_settings: Annotated[
        bool,
        typer.Option("--settings", callback=print_settings, help="Print the settings of METHOD and leave."),
    ] = False,
    recipe: Annotated[
        str | None,
        typer.Option(
            "--recipe",
            autocompletion=completion.RECIPES,
            help="Such as ucdir-office-home or uem-domainnet, or a YAML file.",
        ),
    ] = None,
    seed: Annotated[int, typer.Option("--seed", help="Of everything random.")] = 0,
    seeds: Annotated[
        str | None,
        typer.Option("--seeds", help="One run for each of these seeds, such as 0,1,2, in OUT/seed-0 and so on."),
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue the run in --out where it stopped.")] = False,
    oracle: Annotated[
        bool,
        typer.Option(
            "--oracle", help="Let labels choose the number of clusters and the epoch; results are marked."
        ),
    ] = False,
    classes: Annotated[
        Path | None, typer.Option("--classes", help="Class names, one a line, for methods that learn from names.")
    ] = None,
    goal: Annotated[
        str | None,
        typer.Option(
            "--goal",
            autocompletion=completion.GOALS,
            help="For auto: thing, the very same one in another look, or kind, more of a sort.",
        ),
    ] = None,
    explain: Annotated[
        bool,
        typer.Option("--explain", help="With auto: say what would be trained, why, and what would change it."),
    ] = False,
    unseen: Unseen = None,
    protocol: Annotated[
        str | None,
        typer.Option(
            "--protocol", help="Train on the classes of a scenario only: close-set, partial or open-set."
        ),
    ] = None,
    shared: Shared = None,
    private_query: PrivateQuery = None,
    private_gallery: PrivateGallery = None,
    draw: Draw = None,
    split: Split = None,
    decode: Decode = "exact",
    features: Features = None,
    device: Device = None,
    workers: Workers = None,
    max_pixels: MaxPixels = None,
    json: Json = None,
    quiet: Quiet = False,
) -> None:
    """Train an encoder for the domains of ROOT, without labels unless the method learns from them.

    METHOD auto looks at what there is (pictures, domains, class names), takes the method that suits it, and keeps
    centred where what was trained does not seem better.

    Of images marked with splits, those of 'train' are learned from unless --split says otherwise.

    Example: crosslens fit auto pictures/ --out runs/first
    """
    if method != AUTO:
        require_name("method", method, [AUTO, *known_methods()])
    require_sources(root)
    if classes is not None and not classes.is_file():
        raise ConfigError(f"--classes {classes} is no file; it is a text file of class names, one a line")
    require_backbones(backbone)
    given = parse_settings(settings or [])
    from crosslens.api.fit_request import FitRequest
    from crosslens.evaluation.scenarios import KINDS
    from crosslens.methods.declared import require_settings

    scenario = scenario_draw(protocol, shared, private_query, private_gallery, draw)
    if protocol is not None and scenario is None:
        raise ConfigError(f"fit --protocol takes {', '.join(KINDS)}, not {protocol!r}; others are for evaluate")
    if method != AUTO and (explain or goal is not None):
        raise ConfigError(f"{'--explain' if explain else '--goal'} is for 'fit auto', and this is 'fit {method}'")
    if out is None and not explain:
        raise ConfigError("name the run folder to make: --out RUN")
    if method == AUTO and seeds is not None:
        raise ConfigError("auto chooses for one run: ask with --explain, then fit that method with --seeds")
    request = FitRequest.of(
        method=method,
        source=root,
        out=out or Path(),
        domains=split_names(domains),
        backbone=backbone,
        tune=tune,
        seed=seed,
        settings=given,
        recipe=recipe,
        decode=decode,
        features=features,
        device=device,
        workers=workers,
        resume=resume,
        oracle=oracle,
        classes=classes,
        goal=goal,
        unseen=unseen,
        split=split,
        scenario=scenario,
    )
    require_settings(method, (request.with_recipe().settings or {}).keys())
    from crosslens.api.auto.train_chosen import choose_for
    from crosslens.api.fitting import train
    from crosslens.api.seeds import seed_folder
    from crosslens.api.summary import summarise_fit
    from crosslens.support.progress import note

    if explain:
        choice = choose_for(request)
        emit_json(json, choice.to_json())
        for sentence in choice.sentences:
            echo(sentence)
        return
    with as_job("fit", request.out):
        if seeds is None:
            runs = [train(request)]
        else:
            runs = [
                train(request.model_copy(update={"seed": number, "out": seed_folder(request.out, number)}))
                for number in _seeds(seeds)
            ]
    values = [{"run": str(run.folder), "encoder": str(run.encoder_folder), **run.config()} for run in runs]
    value: dict[str, Any] = values[0] if seeds is None else {"group": str(out), "runs": values}
    emit_json(json, value)
    if not quiet:
        # The last one stands for all: they differ in their seed alone.
        for sentence in summarise_fit(runs[-1], request.out, features=features, device=device):
            note(sentence)


def _seeds(text: str) -> list[int]:
    try:
        numbers = [int(part) for part in text.split(",")]
    except ValueError:
        numbers = []
    if not numbers or len(set(numbers)) != len(numbers):
        raise ConfigError(f"--seeds takes different whole numbers, separated by commas, not {text!r}")
    return numbers
