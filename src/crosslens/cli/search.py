"""``crosslens search``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from crosslens.cli import completion
from crosslens.cli.options import Device, Goal, Json, MaxPixels, Quiet, Where, emit_json, is_free
from crosslens.cli.running import ask_running
from crosslens.support.errors import ConfigError
from crosslens.support.terminal import echo, print_document, print_table

if TYPE_CHECKING:
    from crosslens.search.index.index import Index
    from crosslens.search.query.query import Answer
    from crosslens.search.query.search_request import SearchRequest
    from crosslens.support.addresses import Place
    from crosslens.support.tables import Table


def search(
    index: Annotated[Path, typer.Argument(help="An index folder.", autocompletion=completion.INDEXES)],
    image: Annotated[list[Path] | None, typer.Option("--image", "-i", help="A picture; again for more.")] = None,
    text: Annotated[
        list[str] | None, typer.Option("--text", "-t", help="Words, where the index knows text.")
    ] = None,
    like: Annotated[list[str] | None, typer.Option("--like", help="The id of an indexed item.")] = None,
    weight: Annotated[
        list[float] | None,
        typer.Option("--weight", "-w", help="One a query: pictures, texts, then ids; negative pushes away."),
    ] = None,
    domain: Annotated[
        str | None, typer.Option("--domain", help="The domain of the pictures, where known; auto detects it.")
    ] = None,
    region: Annotated[
        list[str] | None,
        typer.Option(
            "--region",
            help="The part of a picture that is meant: x,y,width,height as shares of it; one for each --image.",
        ),
    ] = None,
    where: Where = None,
    top: Annotated[int, typer.Option("--top", "-k", min=1, help="How many to show, at most 1000.")] = 10,
    goal: Goal = None,
    min_score: Annotated[float, typer.Option("--min-score", help="Leave out what is less similar.")] = -1.0,
    min_match: Annotated[
        float | None,
        typer.Option(
            "--min-match", min=0.0, max=1.0, help="Say 'no match' below this probability of a counterpart."
        ),
    ] = None,
    queries: Annotated[
        str | None,
        typer.Option(
            "--queries",
            help="Unlabelled images of the query's kind, to calibrate --min-match on; by default those that the"
            " index keeps ('index build --queries').",
        ),
    ] = None,
    sort: Annotated[
        str,
        typer.Option(
            "--sort",
            help="Order of the hits: score, id, path, domain, label, size, modified, an own column, or -KEY.",
        ),
    ] = "score",
    fold: Annotated[
        float | None, typer.Option("--fold", help="Show near-duplicates, from this cosine on, under the best one.")
    ] = None,
    rerank: Annotated[
        str | None,
        typer.Option(
            "--rerank",
            autocompletion=completion.RERANKERS,
            help="aqe, dba, k-reciprocal, diffusion, or mmr for different ones; see the docs.",
        ),
    ] = None,
    sheet: Annotated[
        Path | None,
        typer.Option(
            "--contact-sheet", "--grid", help="Draw the query and its hits into this .png or .html file."
        ),
    ] = None,
    show: Annotated[bool, typer.Option("--open", help="Show the hits in the browser.")] = False,
    copy_to: Annotated[
        Path | None,
        typer.Option("--copy-to", metavar="DIR", help="Copy the hits' pictures into this folder, named by rank."),
    ] = None,
    csv: Annotated[
        Path | None, typer.Option("--csv", help="Write the hits as CSV to this file; - for the screen.")
    ] = None,
    save: Annotated[
        list[Path] | None,
        typer.Option(
            "--save",
            help="Write the hits to this file, its format told by the ending: .csv, .md, .tex, .html,"
            " .fiftyone.json or .labelstudio.json; again for more.",
        ),
    ] = None,
    device: Device = None,
    max_pixels: MaxPixels = None,
    json: Json = None,
    quiet: Quiet = False,
) -> None:
    """Find the indexed images most like pictures, words or indexed items, or a weighted mix of them.

    A score says how alike two vectors are: 1 for a copy of the query, less for anything else. It orders the hits
    of one query. It is no percentage, and scores of indexes with other encoders do not compare; nor do those of
    words with those of pictures.

    With --goal thing, scores are less or more by how near an item is to every query; see the docs (goal).

    Example: crosslens search photos.index --image sketch.png --domain sketch --top 5 --open

    Example: crosslens search photos.index --image sketch.png --where "label in ('dog', 'cat') and size > 10000"
    """
    for file in save or []:
        _check_saved(file)
    if sheet is not None:
        from crosslens.search.grid import check_grid_file

        check_grid_file(sheet)
    if csv is not None and not is_free(csv) and not is_free(json):
        raise ConfigError("--csv - and --json - both go to the screen; name a file for one of them")
    asked = {
        "images": [str(one.absolute()) for one in image or []],
        "texts": text or [],
        "like": like or [],
        "weights": weight or [],
        "regions": [one.split(",") for one in region or []],
        "domain": domain,
        "top": top,
        "goal": goal,
        "min_score": min_score,
        "min_match": min_match,
        "where": where,
        "sort": sort,
        "fold": fold,
        "rerank": rerank,
    }
    told = None
    # What a server was started with is its own, and it hands out no hits to draw, save or copy.
    if not any((sheet, show, copy_to, csv, save, queries, device, max_pixels)):
        told = ask_running(index, asked)
    if told is None:
        asked["images"] = image or []
        wanted = _Wanted(sheet, show, copy_to, csv, tuple(save or ()))
        told = _answer_here(index, asked, queries, device, wanted)
    value = told["answer"]
    emit_json(json, value)
    for sentence in value["notes"]:
        _note(f"note: {sentence}")
    if is_free(json) and is_free(csv):
        _show(value, told["items"], domain, asked=min_match is not None)
        if sheet is not None:
            echo(f"drawn in {sheet}")
    if copy_to is not None:
        _note(f"{len(value['copied'])} of {len(value['hits'])} pictures copied to {copy_to}")


class _Wanted(NamedTuple):
    """What becomes of the hits besides being printed."""

    sheet: Path | None
    show: bool
    copy_to: Path | None
    csv: Path | None
    save: tuple[Path, ...]


def _answer_here(
    folder: Path, asked: dict[str, Any], queries: str | None, device: str | None, wanted: _Wanted
) -> dict[str, Any]:
    """The answer of this process, as ``to_plain`` gives it; what is wrong about the words is told first."""
    from crosslens.search.query.plain import answer_plainly, request_plainly, to_plain
    from crosslens.search.query.query import AUTO

    request = request_plainly(folder, asked, has_queries=queries is not None)

    from crosslens.search.index.index import Index
    from crosslens.search.query.searcher import Searcher

    opened = Index.open(folder)
    domain = None if request.domain == AUTO else request.domain
    searcher = Searcher(opened, unlabelled=queries, unlabelled_domain=domain, device=device)
    answer = answer_plainly(searcher, request, asked["min_match"], has_queries=queries is not None)
    told = to_plain(answer, len(opened))
    if wanted.sheet is not None:
        _draw(wanted.sheet, opened, request, answer)
        told["answer"]["grid"] = str(wanted.sheet)
    if wanted.show:
        _show_sheet(opened, request, answer)
    if wanted.copy_to is not None:
        told["answer"]["copied"] = [str(file) for file in _copy(answer, wanted.copy_to)]
    if wanted.csv is not None:
        _write_csv(_table(answer), wanted.csv)
    for file in wanted.save:
        if file.suffix.lower() == ".json":
            from crosslens.report.exchange import write_exchange

            write_exchange(file, answer, name=opened.name)
        else:
            answer.table().write(file)
    return told


def _note(text: str) -> None:
    from crosslens.support.progress import note

    note(text)


def _check_saved(file: Path) -> None:
    from crosslens.report.exchange import exchange_format
    from crosslens.support.tables import table_format

    if file.suffix.lower() == ".json":
        exchange_format(file)
    else:
        table_format(file)


def _draw(file: Path, index: Index, request: SearchRequest, answer: Answer, *, linked: bool = False) -> None:
    from crosslens.images.decode import decode
    from crosslens.search.grid import Tile, make_tile, picture_tile, write_grid

    tiles = []
    for part in request.parts:
        value: Any = part.value
        weight = "" if part.weight == 1 else f"weight {part.weight:g}"
        if part.kind == "like":
            hit, _ = index.get(value)
            tiles.append(picture_tile(hit.path, (f"like {value}", weight)))
        elif part.kind == "text":
            tiles.append(Tile(None, value, ("text", weight)))
        else:
            shown = value if part.region is None else part.region.cut(decode(value))
            tiles.append(Tile(shown, "image", (Path(value).name, weight or answer.domain or "")))
    title = f"{len(answer.hits)} of {len(index)} in {index.folder.name}"
    if answer.match_probability is not None and not answer.match_is_rough:
        title += f", probability of a counterpart {answer.match_probability:.2f}"
    if request.options.rerank is not None:
        title += f", re-ranked by {request.options.rerank}"
    write_grid(file, tiles, [make_tile(found, linked=linked) for found in answer.hits], title)


def _show_sheet(index: Index, request: SearchRequest, answer: Answer) -> None:
    """The hits as a page in the browser, each a link to its file; the page lies in the cache."""
    from crosslens.cli.browser import show_in_browser
    from crosslens.support.places import cache_folder
    from crosslens.support.progress import note

    file = cache_folder() / "last-search.html"
    _draw(file, index, request, answer, linked=True)
    if not show_in_browser(file.as_uri()):
        note(f"there is no browser with windows here; the hits are drawn in {file}")


def _copy(answer: Answer, folder: Path) -> list[Place]:
    """The hits' pictures in a folder, the rank in front of each name; nothing there is written over."""
    import shutil

    from crosslens.support.addresses import place_of, whole_name
    from crosslens.support.files import atomic_path
    from crosslens.support.members import read_bytes
    from crosslens.support.progress import note

    width, there = len(str(len(answer.hits))), place_of(folder)
    copied: list[Place] = []
    for rank, found in enumerate(answer.hits, start=1):
        source = place_of(found.hit.path)
        target = there / f"{rank:0{width}}-{source.name}"
        again = 2
        while target.exists():
            target = there / f"{rank:0{width}}-{source.stem} ({again}){source.suffix}"
            again += 1
        try:
            content = None if isinstance(source, Path) and source.is_file() else read_bytes(source)
        except OSError:
            note(f"not copied, being gone: {source}", "yellow")
            continue
        with atomic_path(target) as temporary:
            if content is None:
                shutil.copy2(whole_name(source), temporary)
            else:
                temporary.write_bytes(content)
        copied.append(target)
    return copied


def _table(answer: Answer) -> Table:
    """The hits with all that is known of them, own columns among it."""
    from crosslens.support.tables import Table

    names = ("score", "id", "path", "domain", "label", "size", "modified")
    own = list(dict.fromkeys(name for found in answer.hits for name in found.hit.columns))
    rows = []
    for rank, found in enumerate(answer.hits, start=1):
        told = [found.hit.columns.get(name) for name in own]
        fixed = (getattr(found.hit, name) for name in names)
        rows.append((rank, *fixed, "; ".join(found.duplicates), *told))
    return Table(("rank", *names, "duplicates", *own), tuple(rows))


def _write_csv(table: Table, target: Path) -> None:
    from crosslens.support.files import write_text

    if is_free(target):
        write_text(target, table.to_csv())
    else:
        print_document(table.to_csv())


def _described(columns: dict[str, Any]) -> str:
    """An item's own columns in one line, but for what every picture has."""
    told = {name: value for name, value in columns.items() if name != "orientation"}
    return "; ".join(
        f"{name} {', '.join(value) if isinstance(value, list) else value}" for name, value in told.items()
    )


def _show(answer: dict[str, Any], items: int, domain: str | None, *, asked: bool) -> None:
    if "match_probability" in answer and not answer["match_is_rough"]:
        rejected = "; no match, the nearest are" if answer["no_match"] else ""
        echo(f"probability of a counterpart {answer['match_probability']:.2f}{rejected}")
    elif asked and "match_probability" in answer:
        guess = "no match, the nearest are" if answer["no_match"] else "a match"
        echo(
            "a rough guess, made without pictures like this query (--queries gives it some,"
            f" 'index build --queries' keeps them): {guess}"
        )
    if domain == "auto" and answer["domain"] is not None:
        echo(f"detected domain: {answer['domain']}")
    rows = []
    for hit in answer["hits"]:
        more = len(hit["duplicates"])
        path = hit["path"] + (f" (+{more} alike)" if more else "")
        rows.append((f"{hit['score']:.3f}", hit["domain"], hit["label"] or "", path, _described(hit["columns"])))
    names = ("score", "domain", "label", "path", "columns")
    shown = 5 if any(row[-1] for row in rows) else 4
    print_table(f"{len(answer['hits'])} of {items}", names[:shown], [row[:shown] for row in rows])
