"""``crosslens search``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from crosslens.cli.options import Device, Json, MaxPixels, Quiet, Where, emit_json, is_shown
from crosslens.cli.running import ask_running
from crosslens.support.terminal import echo, print_table

if TYPE_CHECKING:
    from crosslens.search.index.index import Index
    from crosslens.search.query.query import Answer
    from crosslens.search.query.search_request import SearchRequest


def search(
    index: Annotated[Path, typer.Argument(help="An index folder.")],
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
    min_score: Annotated[float, typer.Option("--min-score", help="Leave out what is less similar.")] = -1.0,
    min_match: Annotated[
        float | None,
        typer.Option(
            "--min-match", min=0.0, max=1.0, help="Answer 'no match' below this probability of a counterpart."
        ),
    ] = None,
    queries: Annotated[
        str | None,
        typer.Option("--queries", help="Unlabelled images of the query's kind, to calibrate --min-match on."),
    ] = None,
    sort: Annotated[
        str,
        typer.Option("--sort", help="Order of the hits: score, id, path, domain, label, size, modified, or -KEY."),
    ] = "score",
    fold: Annotated[
        float | None, typer.Option("--fold", help="Show near-duplicates, from this cosine on, under the best one.")
    ] = None,
    rerank: Annotated[
        str | None,
        typer.Option(
            "--rerank", help="aqe, dba, k-reciprocal, diffusion, or mmr for different ones; see the docs."
        ),
    ] = None,
    grid: Annotated[
        Path | None, typer.Option("--grid", help="Draw the query and its hits into this .png or .html file.")
    ] = None,
    device: Device = None,
    max_pixels: MaxPixels = None,
    json: Json = None,
    quiet: Quiet = False,
) -> None:
    """Find the indexed images most like pictures, words or indexed items, or a weighted mix of them.

    Example: crosslens search photos.index --image sketch.png --domain sketch --top 5 --grid found.png

    Example: crosslens search photos.index --image sketch.png --where "label in ('dog', 'cat') and size > 10000"
    """
    if grid is not None:
        from crosslens.search.grid import check_grid_file

        check_grid_file(grid)
    if queries is not None and min_match is None:
        min_match = 0.0
    asked = {
        "images": [str(one.absolute()) for one in image or []],
        "texts": text or [],
        "like": like or [],
        "weights": weight or [],
        "regions": [one.split(",") for one in region or []],
        "domain": domain,
        "top": top,
        "min_score": min_score,
        "min_match": min_match,
        "where": where,
        "sort": sort,
        "fold": fold,
        "rerank": rerank,
    }
    told = None
    # What a server was started with is its own.
    if grid is None and queries is None and device is None and max_pixels is None:
        told = ask_running(index, asked)
    if told is None:
        told = _answer_here(index, asked | {"images": image or []}, queries, device, grid)
    value = told["answer"]
    emit_json(json, value)
    if value["notes"]:
        from crosslens.support.progress import note

        for sentence in value["notes"]:
            note(f"note: {sentence}")
    if is_shown(quiet, json):
        _show(value, told["items"], domain)


def _answer_here(
    folder: Path, asked: dict[str, Any], queries: str | None, device: str | None, grid: Path | None
) -> dict[str, Any]:
    """The answer by this process, as ``plain_answer`` gives it; what can be told wrong at once is told first."""
    from crosslens.search.query.query import AUTO
    from crosslens.search.query.search_request import SearchRequest

    request = SearchRequest.made_of(**asked)

    from crosslens.search.index.index import Index
    from crosslens.search.query.plain import plain_answer
    from crosslens.search.query.searcher import Searcher

    opened = Index.open(folder)
    domain = None if request.domain == AUTO else request.domain
    searcher = Searcher(opened, unlabelled=queries, unlabelled_domain=domain, device=device)
    answer = request.put_to(searcher)
    told = plain_answer(answer, len(opened), request.options.min_match is not None)
    if grid is not None:
        _draw(grid, opened, request, answer)
        told["answer"]["grid"] = str(grid)
    return told


def _draw(file: Path, index: Index, request: SearchRequest, answer: Answer) -> None:
    from crosslens.images.decode import decode
    from crosslens.search.grid import Tile, make_tile, write_grid

    tiles = []
    for part in request.parts:
        value: Any = part.value
        weight = "" if part.weight == 1 else f"weight {part.weight:g}"
        if part.kind == "like":
            hit, _ = index.get(value)
            tiles.append(Tile(Path(hit.path), "image is gone", (f"like {value}", weight)))
        elif part.kind == "text":
            tiles.append(Tile(None, value, ("text", weight)))
        else:
            shown = value if part.region is None else part.region.cut(decode(value))
            tiles.append(Tile(shown, "image", (Path(value).name, weight or answer.domain or "")))
    title = f"{len(answer.hits)} of {len(index)} in {index.folder.name}"
    if answer.match_probability is not None:
        title += f", probability of a counterpart {answer.match_probability:.2f}"
    if request.options.rerank is not None:
        title += f", re-ranked by {request.options.rerank}"
    write_grid(file, tiles, [make_tile(found) for found in answer.hits], title)


def _show(answer: dict[str, Any], items: int, domain: str | None) -> None:
    if "match_probability" in answer:
        rejected = "; no match" if answer["no_match"] else ""
        echo(f"probability of a counterpart {answer['match_probability']:.2f}{rejected}")
    if domain == "auto" and answer["domain"] is not None:
        echo(f"detected domain: {answer['domain']}")
    rows = []
    for hit in answer["hits"]:
        more = len(hit["duplicates"])
        path = hit["path"] + (f" (+{more} alike)" if more else "")
        rows.append((f"{hit['score']:.3f}", hit["domain"], hit["label"] or "", path))
    print_table(f"{len(answer['hits'])} of {items}", ("score", "domain", "label", "path"), rows)
    if "grid" in answer:
        echo(f"drawn in {answer['grid']}")
