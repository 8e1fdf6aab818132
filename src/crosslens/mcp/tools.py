"""What an assistant may ask of an index. Nothing here changes it."""

from __future__ import annotations

import base64
import binascii
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, Field

from crosslens.images.decode import ImageSource
from crosslens.ops.hubs import Goal
from crosslens.search.filters.text import parse_filter
from crosslens.search.grid import draw_grid, picture_tile
from crosslens.search.index.index import Index
from crosslens.search.query.query import MOST
from crosslens.search.query.search_request import SearchRequest
from crosslens.search.query.searcher import Searcher
from crosslens.search.rerank.base import Rerank
from crosslens.support.errors import ConfigError

MOST_SHOWN = 60
"""Pictures of one contact sheet."""
_MOST_COUNTED = 200
"""Values of one field that ``facets`` lists."""
MOST_BYTES = 24 << 20
"""Of one picture that is sent with a request."""

Words = Annotated[
    list[str], Field(description="Words to look for; only where describe_index says that text is understood.")
]
Like = Annotated[list[str], Field(description="Ids of indexed images: find what is like these.")]
PicturePaths = Annotated[
    list[str], Field(description="Picture files on this machine, inside the folders that describe_index names.")
]
PictureData = Annotated[list[str], Field(description="Picture files, encoded in base64.")]
Where = Annotated[
    str | None,
    Field(
        description="Only items for which this holds, such as: domain = 'photo' and not label in ('dog', 'cat')."
        " Fields: id, path, domain, label, size (bytes), modified ('2026-01-31') and the columns that"
        " describe_index names; also: id starts with 'a/'."
    ),
]
Top = Annotated[int, Field(ge=1, le=100, description="Hits of one page.")]
Offset = Annotated[int, Field(ge=0, lt=MOST, description="Hits to pass over: next_offset of the page before.")]


class IndexFacts(BaseModel):
    """What an index holds and understands."""

    name: str
    items: int
    domains: dict[str, int] = Field(description="Items by domain, that is by look: sketch, photo.")
    columns: dict[str, str] = Field(description="The items' own columns and their types, to filter by.")
    understands_text: bool
    encoder: str
    goal: str = Field(description="What a search is for where it does not say.")
    goals: list[str] = Field(description="What it can be searched for: this very thing, or its kind.")
    encoder_domains: list[str] = Field(description="Domains that make a difference as that of a query picture.")
    picture_folders: list[str] = Field(description="Folders that query pictures may be read from.")


class Found(BaseModel):
    """One page of hits, best first."""

    hits: list[dict[str, Any]] = Field(description="id, score (at most 1), path, domain, label and more.")
    next_offset: int | None = Field(description="Offset of the next page; null at the end.")
    domain: str | None = Field(description="Domain of the query pictures, as told or detected.")
    notes: list[str] = Field(description="What one should know of this answer.")


class Facets(BaseModel):
    """How many items have which domain, label and own values."""

    items: int
    domains: dict[str, int]
    labels: dict[str, int] = Field(description="The most frequent ones.")
    unlabelled: int
    columns: dict[str, dict[str, Any]] = Field(
        description="Of own columns: the most frequent values with how many items have each, or min and max."
    )


class IndexTools:
    """Answers about one index; several threads may ask at once.

    Args:
        index: which is asked.
        folders: that query pictures may be read from, beside those that were indexed.
        device: where to embed; None chooses.
    """

    def __init__(self, index: Index, folders: Sequence[Path] = (), device: str | None = None) -> None:
        self._index = index
        self._searcher = Searcher(index, device=device)
        # Of places in object storage none: a query names a file of this machine.
        roots = [root for root in index.roots if isinstance(root, Path)]
        self._folders = [folder.resolve() for folder in (*folders, *roots)]

    def describe_index(self) -> IndexFacts:
        """Say what the index holds, whether words can be searched for, and where query pictures may lie."""
        stats = self._index.stats()
        return IndexFacts(
            name=self._index.name,
            items=len(self._index),
            domains=stats["domains"],
            columns={name: str(kind) for name, kind in self._index.columns.items()},
            understands_text=self._searcher.encoder.has_text,
            encoder=stats["encoder"],
            goal=stats["goal"],
            goals=stats["goals"],
            encoder_domains=self._searcher.encoder.domains,
            picture_folders=[str(folder) for folder in self._folders],
        )

    def search(
        self,
        text: Words = [],  # noqa: B006
        like: Like = [],  # noqa: B006
        picture_paths: PicturePaths = [],  # noqa: B006
        picture_data: PictureData = [],  # noqa: B006
        weights: Annotated[
            list[float],
            Field(description="One each: files, data, text, like; negative pushes away. 1 each by default."),
        ] = [],  # noqa: B006
        domain: Annotated[
            str | None, Field(description="Domain of the query pictures, where known; 'auto' detects it.")
        ] = None,
        where: Where = None,
        liked: Annotated[
            list[str], Field(description="Ids of hits that were right; the query moves towards them.")
        ] = [],  # noqa: B006
        disliked: Annotated[
            list[str], Field(description="Ids of hits that were wrong; they are not found again.")
        ] = [],  # noqa: B006
        goal: Annotated[
            Goal | None,
            Field(
                description="'thing': this very thing in another look; 'kind': more of its kind. By default what"
                " describe_index names; only goals that it lists."
            ),
        ] = None,
        min_score: Annotated[float, Field(ge=-1, le=1, description="Leave out what has a lower score.")] = -1.0,
        fold: Annotated[
            float | None,
            Field(gt=0, le=1, description="Cosine from which near-duplicates come as one hit, such as 0.97."),
        ] = None,
        rerank: Annotated[
            Rerank | None, Field(description="'mmr' gives different ones; others better the order of many.")
        ] = None,
        top: Top = 10,
        offset: Offset = 0,
    ) -> Found:
        """Find the indexed images most like words, pictures or indexed images, or a weighted mix of them.

        Look at what was found with contact_sheet.
        """
        pictures: list[ImageSource] = [self._allowed(path) for path in picture_paths]
        pictures += [_decoded(data) for data in picture_data]
        request = SearchRequest.made_of(
            images=pictures,
            texts=text,
            like=like,
            weights=weights,
            domain=domain,
            where=where,
            liked=tuple(liked),
            disliked=tuple(disliked),
            goal=goal,
            min_score=min_score,
            fold=fold,
            rerank=rerank,
            # One more tells whether there is a next page.
            top=min(offset + top + 1, MOST),
        )
        self._index.refresh()
        answer = self._searcher.answer_request(request)
        page = answer.hits[offset : offset + top]
        has_more = len(answer.hits) > offset + len(page)
        return Found(
            hits=[vars(one.hit) | {"duplicates": list(one.duplicates)} for one in page],
            next_offset=offset + len(page) if has_more else None,
            domain=answer.domain,
            notes=list(answer.notes),
        )

    def facets(self, where: Where = None) -> Facets:
        """Count items by domain, label and own columns, of all or of those that match a filter."""
        self._index.refresh()
        wanted = None if where is None else parse_filter(where)
        domains: Counter[str] = Counter()
        labels: Counter[str | None] = Counter()
        for table, _ in self._index.scan(wanted):
            domains.update(table.column("domain").to_pylist())
            labels.update(table.column("label").to_pylist())
        unlabelled = labels.pop(None, 0)
        return Facets(
            items=sum(domains.values()),
            domains=dict(domains.most_common(_MOST_COUNTED)),
            labels={str(name): count for name, count in labels.most_common(_MOST_COUNTED)},
            unlabelled=unlabelled,
            columns={name: vars(found) for name, found in self._index.facets(wanted).items()},
        )

    def item(self, id: Annotated[str, Field(description="Of an indexed image.")]) -> dict[str, Any]:
        """Everything that the index keeps of one image."""
        self._index.refresh()
        return {name: value for name, value in vars(self._index.get(id)[0]).items() if name != "score"}

    def contact_sheet(
        self,
        ids: Annotated[
            list[str],
            Field(min_length=1, max_length=MOST_SHOWN, description="Of the images to show, such as those found."),
        ],
    ) -> bytes:
        """Show indexed images side by side in one picture, each with its id."""
        self._index.refresh()
        hits = [self._index.get(image)[0] for image in ids]
        return draw_grid(
            (), [picture_tile(hit.path, (Path(hit.id).name, hit.label or hit.domain)) for hit in hits]
        )

    def _allowed(self, path: str) -> Path:
        file = Path(path).expanduser().resolve()
        if not any(file.is_relative_to(folder) for folder in self._folders):
            raise ConfigError(
                f"{path} lies outside the folders that pictures may be read from:"
                f" {', '.join(map(str, self._folders))}. Send it as picture_data, or start the server with"
                " --allow FOLDER"
            )
        return file


def _decoded(data: str) -> bytes:
    # As pages and files hold pictures: data:image/png;base64,...
    text = data.partition(",")[2] if data.startswith("data:") else data
    if len(text) > MOST_BYTES * 4 // 3 + 4:
        raise ConfigError(f"a picture sent as data has at most {MOST_BYTES >> 20} MiB")
    try:
        return base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError):
        raise ConfigError("picture_data holds a text that is not base64") from None
