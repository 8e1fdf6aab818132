"""``crosslens search``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from crosslens.cli.options import Json, Quiet, Where, emit_json, print_table


def search(
    index: Annotated[Path, typer.Argument(help="An index folder.")],
    image: Annotated[list[Path] | None, typer.Option("--image", "-i", help="A picture; again for more.")] = None,
    text: Annotated[
        list[str] | None, typer.Option("--text", "-t", help="Words, where the index knows text.")
    ] = None,
    like: Annotated[list[str] | None, typer.Option("--like", help="The id of an indexed item.")] = None,
    weight: Annotated[
        list[float] | None, typer.Option("--weight", "-w", help="One a query: pictures, texts, then ids.")
    ] = None,
    domain: Annotated[
        str | None, typer.Option("--domain", help="The domain of the pictures, where known.")
    ] = None,
    top: Annotated[int, typer.Option("--top", "-k", min=1, help="How many to show.")] = 10,
    where: Where = None,
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
    json: Json = None,
    quiet: Quiet = False,
) -> None:
    """Find the indexed images most like pictures, words or indexed items, or a weighted mix of them.

    Example: crosslens search photos.index --image sketch.png --domain sketch --top 5

    Example: crosslens search photos.index --image sketch.png --where "label in ('dog', 'cat') and size > 10000"
    """
    from crosslens.progress import set_quiet
    from crosslens.search.filters import parse_filter
    from crosslens.search.index import Index
    from crosslens.search.query import match_probability, query_vector
    from crosslens.search.query import search as find

    set_quiet(quiet)
    wanted = None if where is None else parse_filter(where)
    opened = Index.open(index)
    vector = query_vector(
        opened, images=image or [], texts=text or [], like=like or [], weights=weight or [], domain=domain
    )
    probability = None
    if min_match is not None or queries is not None:
        probability = match_probability(
            opened, vector, images=() if text or like else image or [], unlabelled=queries, domain=domain
        )
    rejected = min_match is not None and probability is not None and probability < min_match
    hits = [] if rejected else find(opened, vector, top=top, min_score=min_score, exclude=like or [], where=wanted)
    answer: dict[str, Any] = {"hits": [vars(hit) for hit in hits]}
    if probability is not None:
        answer |= {"match_probability": probability, "no_match": rejected}
    emit_json(json, answer)
    if not quiet and str(json) != "-":
        rows = [(f"{hit.score:.3f}", hit.domain, hit.label or "", hit.path) for hit in hits]
        if probability is not None:
            typer.echo(f"probability of a counterpart {probability:.2f}" + ("; no match" if rejected else ""))
        print_table(f"{len(hits)} of {len(opened)}", ("score", "domain", "label", "path"), rows)
