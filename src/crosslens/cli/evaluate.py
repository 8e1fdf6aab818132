"""``crosslens evaluate`` and ``crosslens compare``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from crosslens.cli import completion
from crosslens.cli.early import require_encoders, require_name, require_sources
from crosslens.cli.options import (
    Device,
    Domains,
    Draw,
    Features,
    Goal,
    Json,
    MaxPixels,
    PrivateGallery,
    PrivateQuery,
    Quiet,
    Shared,
    Split,
    Unseen,
    emit_json,
    is_free,
    scenario_draw,
    split_names,
)
from crosslens.support.errors import ConfigError
from crosslens.support.terminal import print_document, print_table

if TYPE_CHECKING:
    import pyarrow

    from crosslens.api.seeds import Spread
    from crosslens.evaluation.compare import Comparisons
    from crosslens.evaluation.measured import Evaluation
    from crosslens.support.tables import Table

Protocol = Annotated[
    str | None,
    typer.Option(
        "--protocol",
        autocompletion=completion.PROTOCOLS,
        help="pairs (every two domains, both ways); close-set, partial, open-set; zero-shot; ucdr, uccdr, udcdr;"
        " by default what a run is for.",
    ),
]
Convention = Annotated[
    str,
    typer.Option(
        "--convention",
        autocompletion=completion.CONVENTIONS,
        help="How metrics are defined: standard, second_table, ucdir, trec, zse, sempcyc.",
    ),
]
Generalised = Annotated[bool, typer.Option("--generalised", help="zero-shot: the gallery holds seen classes too.")]
UniversalSplitFile = Annotated[
    Path | None,
    typer.Option(
        "--universal-split",
        help="ucdr, uccdr and udcdr on images of your own: a YAML or JSON file with gallery, unseen_classes and"
        " unseen_domains. See the docs (universal-protocols).",
    ),
]
TiesOption = Annotated[
    str,
    typer.Option(
        "--ties",
        autocompletion=completion.TIES,
        help="Items with equal scores: stable ranks them in the gallery's order, as the published codes do;"
        " expected takes the mean over all their orders.",
    ),
]
Ks = Annotated[
    str, typer.Option("--k", help="Cuts of P@k, separated by commas; ucdr, uccdr and udcdr have their own.")
]


def _require_format(name: str | None) -> str | None:
    from crosslens.support.tables import FORMATS

    known = {"md": "markdown", "tex": "latex"} | {format: format for format in FORMATS}
    if name is not None and name not in known:
        from crosslens.support.near_names import did_you_mean

        raise ConfigError(
            f"there is no table format {name!r}; there are {', '.join(known)}{did_you_mean(name, known)}"
        )
    return None if name is None else known[name]


Format = Annotated[
    str | None,
    typer.Option(
        "--format",
        callback=_require_format,
        autocompletion=completion.FORMATS,
        help="Print the table as csv, md, latex or html, for other programs.",
    ),
]


def _require_rows(file: Path | None) -> Path | None:
    if file is not None and file.suffix.lower() not in (".csv", ".parquet"):
        raise ConfigError(f"--per-query writes a .csv or .parquet file, not {file.name!r}")
    return file


PerQuery = Annotated[
    Path | None,
    typer.Option(
        "--per-query", callback=_require_rows, help="Write every query's numbers to this .csv or .parquet file."
    ),
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
    universal_split: UniversalSplitFile = None,
    split: Split = None,
    ties: TiesOption = "stable",
    goal: Goal = "kind",
    features: Features = None,
    device: Device = None,
    max_pixels: MaxPixels = None,
    format: Format = None,
    per_query: PerQuery = None,
    json: Json = None,
    quiet: Quiet = False,
) -> None:
    """Measure an encoder on labelled images, with confidence intervals.

    A folder of runs that 'fit --seeds' made is measured run by run, and their mean and spread are shown.

    Example: crosslens evaluate runs/first        crosslens evaluate lite pictures/ --domains sketch,photo
    """
    _require_names(protocol, convention)
    require_encoders(encoder)
    require_sources(root)
    from crosslens.api.evaluate_request import EvaluateRequest
    from crosslens.api.seeds import runs_of

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
        universal_split=universal_split,
        split=split,
        ties=ties,
        goal=goal,
    )
    from crosslens.api.evaluating import measure

    runs = runs_of(encoder)
    results = [measure(run, request) for run in runs]
    if per_query is not None:
        _write_rows([(run, result) for run, result in zip(runs, results, strict=True)], per_query)
    if len(results) > 1:
        _show_seeds(encoder, runs, results, format, json)
        return
    value = results[0].to_json()
    emit_json(json, value)
    if is_free(json):
        _show(results[0], value, format)


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
    universal_split: UniversalSplitFile = None,
    split: Split = None,
    ties: TiesOption = "stable",
    goal: Goal = "kind",
    features: Features = None,
    device: Device = None,
    max_pixels: MaxPixels = None,
    format: Format = None,
    per_query: PerQuery = None,
    json: Json = None,
    quiet: Quiet = False,
) -> None:
    """Compare encoders query by query: difference, paired randomisation test, classes that gained or lost.

    Of a folder of runs that 'fit --seeds' made, every run is compared, and their mean and spread are shown too.

    Example: crosslens compare lite runs/first --on pictures/ --domains sketch,photo
    """
    _require_names(protocol, convention)
    require_encoders(*runs)
    require_sources(root)
    from crosslens.api.evaluate_request import EvaluateRequest
    from crosslens.api.seeds import runs_of, spread_of
    from crosslens.data.catalog import Catalog
    from crosslens.data.source import open_catalog

    request = EvaluateRequest.of(
        on=None if root is None else open_catalog(root),
        protocol=protocol,
        convention=convention,
        domains=split_names(domains),
        unseen=unseen,
        generalised=generalised,
        universal_split=universal_split,
        split=split,
        ties=ties,
        goal=goal,
        features=features,
        device=device,
    )
    groups = {place: runs_of(place) for place in runs}
    places = [run for place in runs for run in groups[place]]
    from crosslens.api.evaluating import measure_and_compare

    compared = measure_and_compare(places, request, metric)
    measured, metric = compared.evaluations, compared.metric
    if per_query is not None:
        _write_rows(list(zip(places, measured, strict=True)), per_query)
    marks = {name: list(m.marks) for name, m in zip(places, measured, strict=True) if m.marks}
    told = list(dict.fromkeys(sentence for m in measured for sentence in m.told()))
    spreads = {
        name: spread_of([m.metrics[metric] for place, m in zip(places, measured, strict=True) if place in group])
        for name, group in groups.items()
        if len(group) > 1
    }
    value = {
        "base": places[0],
        "metric": metric,
        "encoders": [
            {"name": name, "value": m.metrics[metric], "directions": _intervals(m, metric)}
            for name, m in zip(places, measured, strict=True)
        ],
        "others": [c.to_json() for c in compared.comparisons],
        "groups": {name: {"runs": groups[name], **spread._asdict()} for name, spread in spreads.items()},
        "marks": marks,
        "notes": told,
    }
    left_out = {"left_out": dict(request.on.left_out)} if isinstance(request.on, Catalog) else {}
    emit_json(json, value | left_out)
    if not is_free(json):
        return
    if format is not None:
        print_document(_with_groups(compared, spreads, groups).render(format))
    else:
        _show_comparisons(compared, spreads, groups)
    _tell([f"{name}: {mark}" for name, m in zip(places, measured, strict=True) for mark in m.marks] + told)


def _require_names(protocol: str | None, convention: str) -> None:
    from crosslens.evaluation.conventions import CONVENTIONS
    from crosslens.evaluation.protocol_names import PROTOCOL_NAMES

    require_name("protocol", protocol, PROTOCOL_NAMES)
    require_name("convention", convention, list(CONVENTIONS))


def _intervals(result: Evaluation, metric: str) -> list[dict[str, Any]]:
    """The value of each direction with its 95 % interval over queries."""
    from crosslens.evaluation.weighting import intervals

    told = []
    for one in result.directions:
        found = intervals(one, metric)["queries"]
        value = {"value": one.metrics[metric], "interval": [found.low, found.high]}
        told.append({"query": one.query_domain, "gallery": one.gallery_domain, **value})
    return told


def _with_groups(compared: Comparisons, spreads: dict[str, Spread], groups: dict[str, list[str]]) -> Table:
    """The comparison as a table, with a row for each group of runs where there are some."""
    from crosslens.support.tables import Cell, Table

    table = compared.table()
    if not spreads:
        return table
    rows: list[tuple[Cell, ...]] = [(*row, None) for row in table.rows]
    for name, spread in spreads.items():
        blank = (None,) * (len(table.columns) - 2)
        rows.append((f"{name} (mean of {len(groups[name])})", spread.mean, *blank, spread.deviation))
    return Table((*table.columns, "spread"), tuple(rows), table.title)


def _show_comparisons(compared: Comparisons, spreads: dict[str, Spread], groups: dict[str, list[str]]) -> None:
    metric, base = compared.metric, compared.evaluations[0]
    rows = [(compared.names[0], f"{base.metrics[metric]:.4f}", "", "", "")]
    for c in compared.comparisons:
        flipped = f"{c.gained} / {c.lost}"
        rows.append((c.other, f"{c.values[1]:.4f}", f"{c.difference:+.4f}", f"{c.p_value:.4f}", flipped))
    for name, spread in spreads.items():
        told = f"{name} (mean of {len(groups[name])})"
        away = spread.mean - base.metrics[metric]
        rows.append((told, f"{spread.mean:.4f} ± {spread.deviation:.4f}", f"{away:+.4f}", "", ""))
    header = ("encoder", metric, "difference", "p", "queries better / worse")
    print_table(f"{metric} ({base.convention})", header, rows)


def _write_rows(results: list[tuple[str, Evaluation]], file: Path) -> None:
    """Every query of every encoder, whose name is the first column where there are several."""
    import pyarrow as pa

    from crosslens.evaluation.rows import write_rows

    tables: list[pyarrow.Table] = []
    for name, result in results:
        rows = result.per_query()
        if len(results) > 1:
            rows = rows.add_column(0, "encoder", pa.array([name] * rows.num_rows, pa.string()))
        tables.append(rows)
    write_rows(pa.concat_tables(tables, promote_options="default"), file)


def _show_seeds(
    group: str, runs: list[str], results: list[Evaluation], format: str | None, json: Path | None
) -> None:
    """Each run's means over directions, and below them mean and spread over the runs."""
    from crosslens.api.seeds import spread_of
    from crosslens.support.tables import Cell, Table

    keys = list(results[0].metrics)
    spreads = {key: spread_of([result.metrics[key] for result in results]) for key in keys}
    runs_told = [{"run": run, **result.to_json()} for run, result in zip(runs, results, strict=True)]
    emit_json(json, {"runs": runs_told, "metrics": {key: spread._asdict() for key, spread in spreads.items()}})
    if not is_free(json):
        return
    rows: list[tuple[Cell, ...]] = [
        (Path(run).name, *(result.metrics[key] for key in keys)) for run, result in zip(runs, results, strict=True)
    ]
    rows.append(("mean", *(spreads[key].mean for key in keys)))
    rows.append(("spread", *(spreads[key].deviation for key in keys)))
    first = results[0]
    title = f"{group}, {len(runs)} runs, protocol {first.protocol}, convention {first.convention}"
    _print(Table(("run", *keys), tuple(rows), title), format)
    _tell(list(dict.fromkeys(told for result in results for told in (*result.marks, *result.told()))))


def _print(table: Table, format: str | None) -> None:
    if format is None:
        print_table(table.title, table.columns, table.texts())
    else:
        print_document(table.render(format))


def _tell(sentences: list[str]) -> None:
    """What must be known beside the numbers, unless the command is quiet."""
    from crosslens.support.progress import note

    for sentence in sentences:
        note(f"note: {sentence}")


def _show(result: Evaluation, value: dict[str, Any], format: str | None) -> None:
    if format is not None:
        print_document(result.table().render(format))
        _tell([*result.marks, *result.told()])
        return
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
    _tell([*result.marks, *result.told()])


def _show_no_match(value: dict[str, Any]) -> None:
    """How well queries with and without a counterpart are told apart, the best way first."""
    scores = [(score, row) for score, row in value["scores"].items() if row]
    keys = list(dict.fromkeys(key for _, row in scores for key in row))
    scores.sort(key=lambda found: -max(number for key, number in found[1].items() if key.startswith("auroc")))
    cells = [(score, *(f"{row[key]:.3f}" if key in row else "" for key in keys)) for score, row in scores]
    print_table("has a match, by the score", ("score", *keys), cells)
    rules = sorted(value["rules"].items(), key=lambda found: -found[1]["balanced_accuracy"])
    rows = [
        (
            f"{rule} (default)" if rule == value["default"] else rule,
            f"{row['open_set_acc']:.3f}",
            f"{row['false_rejection']:.3f}",
            f"{row['balanced_accuracy']:.3f}",
        )
        for rule, row in rules
    ]
    print_table("says no match, by the rule", ("rule", "Open-set Acc", "false rejections", "balanced"), rows)
    _tell([f"no answer by {score}: {reason}" for score, reason in value["failed"].items()])


def _cuts(text: str) -> list[int]:
    try:
        cuts = [int(part) for part in text.split(",")]
    except ValueError:
        cuts = []
    if not cuts or min(cuts) < 1:
        raise ConfigError(f"--k takes whole numbers from 1 up, separated by commas, not {text!r}")
    return cuts
