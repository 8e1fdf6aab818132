"""Maps of the embeddings: every image a point, near where its neighbours are, coloured by domain and by class."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from crosslens.data.catalog import Catalog
from crosslens.encoder import Encoder
from crosslens.features.of_encoder import features_of_encoder, folder_for
from crosslens.features.store import Skipped
from crosslens.support.errors import EvaluationError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.floating[Any]]

_SMALLEST_TSNE = 30
"""Fewer points than this are laid out by their principal components: neighbourhoods need neighbours."""
_COMPONENTS = 50
_SPOTS = 150
"""Points of a map that show their pictures."""
GROUPS = 10
"""Domains or classes with a colour of their own, the most frequent ones."""
# Paul Tol's and Okabe-Ito's hues, darkened or lightened until they stand out on white and on near-black alike.
COLOURS = (
    "#0077bb", "#e07b00", "#009988", "#cc3311", "#b14fc5", "#5a9e1b", "#8c6d46", "#ee6699", "#6a6fd8", "#a89300"
)  # fmt: skip
OTHER = "#8a8a8a"
_MARKERS = ("o", "^", "s", "D", "v")
_GLYPHS = ("●", "▲", "■", "◆", "▼")
"""The markers as text, for legends."""


@dataclass(frozen=True)
class Embeddings:
    """Vectors of the same images by several encoders.

    Attributes:
        ids: the N images.
        domains: the N domains.
        vectors: encoder name -> ``(N, d)``; d may differ.
        skipped: images asked for that could not be embedded.

    Raises:
        EvaluationError: when the lengths differ.
    """

    ids: Sequence[str]
    domains: Sequence[str]
    vectors: Mapping[str, Floats]
    skipped: tuple[Skipped, ...] = ()

    def __post_init__(self) -> None:
        lengths = {len(self.domains), *(len(rows) for rows in self.vectors.values())}
        if lengths - {len(self.ids)}:
            raise EvaluationError(
                f"there are {len(self.ids)} ids, so give as many domains and vectors of each encoder"
            )

    @classmethod
    def of(
        cls,
        encoders: Mapping[str, Encoder],
        catalog: Catalog,
        *,
        features: Path | None = None,
        device: str | None = None,
    ) -> Embeddings:
        """Encode the images of ``catalog``, from cached features where there are any.

        Images that one of the encoders' backbones could not read are left out for all.

        Args:
            encoders: by the names their evaluations have.
            catalog: N images.
            features: a feature folder for the encoders whose backbone made it, or None; the cache serves others.
            device: see ``crosslens.backbones.engine.make_engine``.

        Raises:
            FeatureError: when no image could be embedded.
        """
        found = {
            name: features_of_encoder(catalog, encoder, folder=folder_for(encoder, features), device=device)
            for name, encoder in encoders.items()
        }
        skipped = {skip.id: skip for part in found.values() for skip in part.skipped}
        kept = set(catalog.ids).intersection(*(part.catalog.ids for part in found.values()))
        rows = catalog.with_ids(kept)
        domains = rows.column("domain")
        vectors = {}
        for name, part in found.items():
            here = part.where(np.array([image in kept for image in part.catalog.ids], dtype=bool))
            vectors[name] = encoders[name].encode_features(here.centre, domains)
        return cls(rows.ids, domains, vectors, tuple(skipped.values()))


@dataclass(frozen=True)
class Legend:
    """What a colour and marker of a map mean."""

    name: str
    colour: str
    glyph: str
    count: int


@dataclass(frozen=True)
class Spot:
    """A point that shows its picture: the image, and where it lies in per cent of the map from its upper left."""

    image: str
    left: float
    top: float


@dataclass(frozen=True)
class Panel:
    """One map: a PNG as data URI, its legend, and the points that show their pictures."""

    title: str
    uri: str
    legend: tuple[Legend, ...]
    spots: tuple[Spot, ...]


@dataclass(frozen=True)
class EmbeddingMap:
    """The maps of one encoder, by domain and by class, and how their points were placed."""

    encoder: str
    layout: str
    points: int
    panels: tuple[Panel, ...]


def draw_maps(
    embeddings: Embeddings, labels: Mapping[str, str], *, encoders: Sequence[str], points: int, seed: int
) -> list[EmbeddingMap]:
    """Maps of the same images by each of ``encoders``.

    Args:
        embeddings: N images.
        labels: class name by image id, for colours; images without one are grey.
        encoders: names among ``embeddings.vectors``.
        points: at most so many images, drawn evenly from all.
        seed: of the sample and the layout.
    """
    rows = np.arange(len(embeddings.ids))
    if len(rows) > points:
        rows = np.sort(np.random.default_rng(seed).choice(rows, points, replace=False))
    domains = [embeddings.domains[row] for row in rows.tolist()]
    classes = [labels.get(embeddings.ids[row], "") for row in rows.tolist()]
    # The same images on every map, so that each picture is in the page once.
    shown = {
        int(place): embeddings.ids[rows[place]]
        for place in np.linspace(0, len(rows) - 1, min(_SPOTS, len(rows))).round().astype(int)
    }
    maps = []
    for encoder in encoders:
        places, layout = lay_out(np.asarray(embeddings.vectors[encoder])[rows], seed)
        panels = tuple(
            _panel(title, places, names, shown, seed)
            for title, names in (("by domain", domains), ("by class", classes))
            # Without any label there is nothing to colour by class.
            if any(names)
        )
        maps.append(EmbeddingMap(encoder, layout, len(rows), panels))
    return maps


def lay_out(vectors: Floats, seed: int) -> tuple[Floats, str]:
    """Place ``vectors (N, d)`` in the plane: ``(N, 2)`` and the name of the way it was done.

    t-SNE on the first ``_COMPONENTS`` principal components; these alone for small or degenerate sets. The same
    input and seed give the same map.
    """
    from sklearn.decomposition import PCA
    from sklearn.manifold import TSNE
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped, unused-ignore]

    count, width = vectors.shape
    places = np.zeros((count, 2))
    keep = min(_COMPONENTS, count, width)
    # One thread is faster here: the steps are short, and on a busy machine the threads wait for each other.
    with threadpool_limits(1):
        if count < 2 or not np.ptp(vectors, axis=0).any():
            return places, "PCA"
        reduced = PCA(keep, svd_solver="auto", random_state=seed).fit_transform(vectors.astype(np.float64))
        places[:, : min(2, keep)] = reduced[:, :2]
        if count < _SMALLEST_TSNE or keep < 2:
            return places, "PCA"
        start = places / places[:, 0].std() * 1e-4
        perplexity = min(30.0, (count - 1) / 3)
        layout = TSNE(2, perplexity=perplexity, init=start, max_iter=750, random_state=seed, n_jobs=1)
        return layout.fit_transform(reduced), f"t-SNE (perplexity {perplexity:.0f})"


def _panel(title: str, places: Floats, names: Sequence[str], shown: Mapping[int, str], seed: int) -> Panel:
    legend, codes = _legend(names)
    uri, drawn = _scatter(places, codes, seed)
    spots = tuple(Spot(image, *(round(float(at), 2) for at in drawn[place])) for place, image in shown.items())
    return Panel(title, uri, legend, spots)


def _legend(names: Sequence[str]) -> tuple[tuple[Legend, ...], NDArray[np.int64]]:
    """The most frequent names with their looks, and per point the place of its name there (-1: all others)."""
    known, counts = np.unique(np.array([name for name in names if name], dtype=np.str_), return_counts=True)
    order = np.lexsort((known, -counts))[:GROUPS]
    chosen = sorted(str(known[index]) for index in order)
    codes = np.array([chosen.index(name) if name in chosen else -1 for name in names], dtype=np.int64)
    legend = [
        Legend(name, COLOURS[index], _GLYPHS[index % len(_GLYPHS)], int((codes == index).sum()))
        for index, name in enumerate(chosen)
    ]
    others = int((codes == -1).sum())
    if others:
        legend.append(Legend("all others", OTHER, _GLYPHS[0], others))
    return tuple(legend), codes


def _scatter(places: Floats, codes: NDArray[np.int64], seed: int) -> tuple[str, Floats]:
    """The map as a data URI, and where each point lies in per cent from its left and its top ``(N, 2)``."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.4, 4.4), dpi=150)
    axes = figure.add_axes((0.01, 0.01, 0.98, 0.98))
    axes.set_axis_off()
    axes.set_aspect("equal", adjustable="datalim")
    size = float(np.clip(9000 / max(1, len(places)), 5, 40))
    # In random order, a few at a time, so that no group is painted over all others.
    for part in np.array_split(np.random.default_rng(seed).permutation(len(places)), 8):
        for code in np.unique(codes[part]):
            rows = part[codes[part] == code]
            axes.scatter(
                places[rows, 0],
                places[rows, 1],
                s=size if code >= 0 else size * 0.5,
                c=COLOURS[code] if code >= 0 else OTHER,
                marker=_MARKERS[code % len(_MARKERS)] if code >= 0 else "o",
                alpha=0.8,
                linewidths=0,
            )
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", transparent=True, metadata={"Software": None})
    width, height = figure.bbox.width, figure.bbox.height
    drawn = axes.transData.transform(places) * (100 / width, -100 / height) + (0, 100)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii"), drawn
