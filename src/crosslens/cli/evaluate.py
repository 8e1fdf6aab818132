"""``crosslens evaluate`` and ``crosslens compare``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from crosslens.cli.options import (
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
    emit_json,
    is_shown,
    scenario_draw,
    split_names,
)
from crosslens.support.errors import ConfigError
from crosslens.support.terminal import echo, print_table

if TYPE_CHECKING:
    from crosslens.evaluation.measured import Evaluation

Protocol = Annotated[
    str | None,
    typer.Option(
        "--protocol",
        help="pairs (every two domains, both ways); close-set, partial, open-set; zero-shot; ucdr, uccdr, udcdr;"
        " by default what a run is for.",
    ),
]
Convention = Annotated[
    str,
    typer.Option(
        "--convention", help="How metrics are defined: standard, second_table, ucdir, trec, zse, sempcyc."
    ),
]
Generalised = Annotated[bool, typer.Option("--generalised", help="zero-shot: the gallery holds seen classes too.")]
TiesOption = Annotated[
    str,
    typer.Option(
        "--ties",
        help="Items with equal scores: stable ranks them in the gallery's order, as the published codes do;"
        " expected takes the mean over all their orders.",
    ),
]
Ks = Annotated[
    str, typer.Option("--k", help="Cuts of P@k, separated by commas; ucdr, uccdr and udcdr have their own.")
]


def evaluate(
    encoder: Annotated[str, typer.Argument(help="A run, an encoder folder, or a backbone such as lite.")],
    root: Annotated[str | None, typer.Argument(help="Labelled images; a run's own by default.")] = None,
    protocol: Protocol = None,
    convention: Convention = "standard",
    domains: Domains = None,
    shared: Shared = None,
    private_query: PrivateQuery = None,
    private_gallery: PrivateGallery = None,
    draw: Draw = None,
    k: Ks = "1,5,15,50,100,200",
    unseen: Unseen = None,
    generalised: Generalised = False,
    split: Split = None,
    ties: TiesOption = "stable",
    features: Features = None,
    device: Device = None,
    max_pixels: MaxPixels = None,
    json: Json = None,
    quiet: Quiet = False,
) -> None:
    """Measure an encoder on labelled images, with confidence intervals.

    Example: crosslens evaluate runs/first        crosslens evaluate lite pictures/ --domains sketch,photo
    """
    from crosslens.api.evaluate_request import EvaluateRequest
    from crosslens.api.evaluating import measure

    numbers = (shared, private_query, private_gallery, draw)
    scenario = scenario_draw(protocol, *numbers)
    request = EvaluateRequest.of(
        on=root,
        protocol=protocol,
        convention=convention,
        domains=split_names(domains),
        # Without numbers it is left to the run, or to the published rule.
        scenario=None if numbers == (None, None, None, None) else scenario,
        k=_cuts(k),
        features=features,
        device=device,
        unseen=unseen,
        generalised=generalised,
        split=split,
        ties=ties,
    )
    result = measure(encoder, request)
    value = result.to_json()
    emit_json(json, value)
    if is_shown(quiet, json):
        _show(result, value)


def compare(
    runs: Annotated[
        list[str], typer.Argument(help="Two or more runs, encoders or backbones; the first is the base.")
    ],
    root: Annotated[
        str | None, typer.Option("--on", help="Labelled images; the first run's own by default.")
    ] = None,
    metric: Annotated[
        str | None,
        typer.Option("--metric", help="What to compare, such as p@50; by default map@all where there is one."),
    ] = None,
    protocol: Protocol = None,
    convention: Convention = "standard",
    domains: Domains = None,
    unseen: Unseen = None,
    generalised: Generalised = False,
    split: Split = None,
    ties: TiesOption = "stable",
    features: Features = None,
    device: Device = None,
    max_pixels: MaxPixels = None,
    json: Json = None,
    quiet: Quiet = False,
) -> None:
    """Compare encoders query by query: difference, paired randomisation test, classes that gained or lost.

    Example: crosslens compare lite runs/first --on pictures/ --domains sketch,photo
    """
    from crosslens.api.evaluate_request import EvaluateRequest
    from crosslens.api.evaluating import measure_and_compare
    from crosslens.data.catalog import Catalog
    from crosslens.data.source import open_catalog

    request = EvaluateRequest.of(
        on=None if root is None else open_catalog(root),
        protocol=protocol,
        convention=convention,
        domains=split_names(domains),
        unseen=unseen,
        generalised=generalised,
        split=split,
        ties=ties,
        features=features,
        device=device,
    )
    measured, comparisons = measure_and_compare(runs, request, metric)
    metric = comparisons[0].metric
    marks = {name: list(m.marks) for name, m in zip(runs, measured, strict=True) if m.marks}
    others = [c.to_json() for c in comparisons]
    told = list(dict.fromkeys(sentence for m in measured for sentence in m.told()))
    value = {"base": runs[0], "metric": metric, "others": others, "marks": marks, "notes": told}
    left_out = {"left_out": dict(request.on.left_out)} if isinstance(request.on, Catalog) else {}
    emit_json(json, value | left_out)
    if not is_shown(quiet, json):
        return
    rows = [(runs[0], f"{measured[0].metrics[metric]:.4f}", "", "", "")]
    for name, other, c in zip(runs[1:], measured[1:], comparisons, strict=True):
        flipped = f"{c.gained} / {c.lost}"
        rows.append((name, f"{other.metrics[metric]:.4f}", f"{c.difference:+.4f}", f"{c.p_value:.4f}", flipped))
    print_table(f"{metric} ({convention})", ("encoder", metric, "difference", "p", "queries better / worse"), rows)
    for name, result in zip(runs, measured, strict=True):
        for mark in result.marks:
            echo(f"note: {name}: {mark}", err=True)
    for sentence in told:
        echo(f"note: {sentence}", err=True)


def _show(result: Evaluation, value: dict[str, Any]) -> None:
    keys = list(result.metrics)
    header = ("direction", *keys)
    rows = []
    for direction in value["directions"]:
        cells = []
        for key in keys:
            low, high = direction["intervals"][key]["queries"]
            cells.append(f"{direction['metrics'][key]:.3f} [{low:.3f}, {high:.3f}]")
        rows.append((f"{direction['query']} -> {direction['gallery']}", *cells))
    rows.append(("mean", *(f"{result.metrics[key]:.4f}" for key in keys)))
    print_table(f"{result.encoder}, protocol {result.protocol}, convention {result.convention}", header, rows)
    if "no_match" in value:
        _show_no_match(value["no_match"])
    for told in (*result.marks, *result.told()):
        echo(f"note: {told}", err=True)


def _show_no_match(value: dict[str, Any]) -> None:
    for score, row in value["scores"].items():
        if row:
            told = ", ".join(f"{key} {number:.3f}" for key, number in row.items())
            echo(f"has a match, by {score}: {told}")
    for score, reason in value["failed"].items():
        echo(f"note: no answer by {score}: {reason}", err=True)
    for rule, row in value["rules"].items():
        echo(
            f"no match, by {rule}: Open-set Acc {row['open_set_acc']:.3f}, false rejections"
            f" {row['false_rejection']:.3f}, balanced {row['balanced_accuracy']:.3f}"
        )


def _cuts(text: str) -> list[int]:
    try:
        cuts = [int(part) for part in text.split(",")]
    except ValueError:
        cuts = []
    if not cuts or min(cuts) < 1:
        raise ConfigError(f"--k takes whole numbers from 1 up, separated by commas, not {text!r}")
    return cuts
