"""The whole story on the built-in pictures: embed, measure, train, measure again, index, search, report."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from crosslens import api
from crosslens.backbones import load_backbone
from crosslens.data.catalog import Catalog
from crosslens.datasets.emoji import ATTRIBUTION, Look, emoji_catalog
from crosslens.encoder import Encoder, load_encoder
from crosslens.encoder.untrained import centred_encoder
from crosslens.evaluation.compare import Comparison, compare_evaluations
from crosslens.evaluation.measured import Evaluation
from crosslens.features.load import features_of
from crosslens.methods.ucdir import UCDIRConfig
from crosslens.report import Embeddings, Section, write_report
from crosslens.search.index.index import Hit, Index
from crosslens.search.query.search_request import SearchRequest
from crosslens.search.query.searcher import Searcher
from crosslens.support.progress import counted_progress

QUERY: Look = "line"
_GALLERY: Look = "flat"
GROUPS = ("Animals & Nature", "Food & Drink", "Travel & Places", "Objects", "Activities")
"""Unicode groups of things one can draw; faces, people and symbols differ by more than their look."""
_LEAST_MEMBERS = 10
_SEARCHES = ("1F3B8", "1F34E", "1F408")
"""Guitar, red apple, cat: line drawings asked for at the end; the last is one that it loses."""

_CATEGORY_TEXT = (
    "The label is the Unicode subgroup (animal-mammal, food-fruit, transport-ground, ...). UCDIR saw no label: it"
    " clusters each look by itself and lets the two looks agree on how pictures group. That is what this table"
    " measures."
)
_IDENTITY_TEXT = (
    "The label is the very same concept, so each query has one right answer. Training that pulls all mammals"
    " together makes it harder to tell the cat from the dog: category-level training lifts categories and costs"
    " identity, as it should. Where you look for the same thing rather than the same kind, take 'centred'."
)


@dataclass(frozen=True)
class Demo:
    """What the demo measured and made.

    Attributes:
        folder: where everything lies: ``run``, ``flat.index``, ``report.html``.
        catalog: the pictures, labelled by subgroup.
        categories: frozen, centred and ucdir, measured by subgroup.
        identities: the same encoders measured by concept.
        gain: ucdir against centred, by subgroup.
        searches: per query picture its name and what was found.
        seconds: wall-clock time of each step.
    """

    folder: Path
    catalog: Catalog
    categories: dict[str, Evaluation]
    identities: dict[str, Evaluation]
    gain: Comparison
    searches: list[tuple[str, list[Hit]]]
    seconds: dict[str, float]

    def to_json(self) -> dict[str, Any]:
        """As plain values."""
        return {
            "folder": str(self.folder),
            "pictures": len(self.catalog),
            "classes": len(self.catalog.classes),
            "categories": {name: e.to_json() for name, e in self.categories.items()},
            "identities": {name: e.to_json(intervals=False) for name, e in self.identities.items()},
            "gain": {"metric": self.gain.metric, "difference": self.gain.difference, "p_value": self.gain.p_value},
            "searches": [{"query": name, "hits": [vars(hit) for hit in hits]} for name, hits in self.searches],
            "seconds": self.seconds,
        }


def run_demo(folder: Path, say: Callable[[str], None] = print) -> Demo:
    """Run the story and leave its results in ``folder``; a second call goes on where the first stopped.

    Args:
        folder: made when missing.
        say: called with each line of the story.

    Raises:
        CrosslensError: of the kind that fits, when something cannot be read or written.
    """
    clock = _Clock()
    say("1. The pictures: emoji drawn by two teams, as line drawings (OpenMoji) and as flat colour (Twemoji).")
    catalog = demo_catalog()
    clock.stop("draw")
    say(f"   {len(catalog) // 2} things in {len(catalog.classes)} Unicode subgroups, in both looks.")

    say("2. Embed each picture once, with three random views for training.")
    backbone = load_backbone("lite")
    settings = UCDIRConfig()
    features_of(catalog, backbone, views=settings.views, augmentation=settings.augmentation)
    clock.stop("embed")

    say("3. Learn without labels: UCDIR, a small head on the frozen features.")
    run = api.fit("ucdir", catalog, out=folder / "run", domains=(QUERY, _GALLERY), resume=_begun(folder))
    clock.stop("fit")

    encoders = {"frozen": Encoder(backbone), "centred": _centred(catalog, backbone)}
    encoders["ucdir"] = load_encoder(run.folder)
    categories = {name: api.evaluate(e, catalog, k=(1, 10)) for name, e in encoders.items()}
    concepts = demo_catalog("concept")
    identities = {name: api.evaluate(e, concepts, k=(1, 5)) for name, e in encoders.items()}
    run.write_metrics({"pairs": categories["ucdir"].to_json()})
    gain = compare_evaluations(categories["centred"], categories["ucdir"], "map@all")
    clock.stop("evaluate")
    say("4. What it brought, ranking every picture of one look for every picture of the other, both ways:")
    say("                same category, mAP@all    same concept at rank 1")
    for name in encoders:
        found, same = categories[name].metrics["map@all"], identities[name].metrics["p@1"]
        say(f"   {name:10}          {found:.3f}                    {same:6.1%}")
    say(f"   ucdir against centred: {gain.difference:+.3f} mAP, paired randomisation test p = {gain.p_value:.4f}.")
    say("   Categories gain, identity pays: training by category pulls the cat towards the dog.")

    finder = max(identities, key=lambda name: identities[name].metrics["p@1"])
    say(
        f"5. Index the flat pictures with {finder}, which finds the same thing most often; ask with line drawings:"
    )
    index = _index(folder / "flat.index", catalog.select(domains=[_GALLERY]), encoders[finder])
    searches = _searches(index, catalog, concepts)
    for name, hits in searches:
        say(f"   {name:12} -> {', '.join(hit.label or hit.id for hit in hits)}")
    say("   The report shows many more, right and wrong ones marked.")
    clock.stop("search")

    write_report(
        [
            Section("Categories", categories, _CATEGORY_TEXT),
            Section("The same concept", identities, _IDENTITY_TEXT),
        ],
        folder / "report.html",
        title="crosslens demo: line drawings and flat colour",
        catalog=catalog,
        embeddings=Embeddings.of({name: encoders[name] for name in ("frozen", "ucdir")}, catalog),
        log=run.read_log(),
        settings=run.config(),
        credits=list(dict.fromkeys(ATTRIBUTION[look] for look in (QUERY, _GALLERY))),
    )
    clock.stop("report")
    return Demo(folder, catalog, categories, identities, gain, searches, clock.seconds)


def demo_catalog(level: Literal["subgroup", "concept"] = "subgroup") -> Catalog:
    """The demo's pictures: drawable things of subgroups of ten or more, labelled by subgroup or concept."""
    with counted_progress("drawing") as show:
        catalog = emoji_catalog(
            "subgroup", (QUERY, _GALLERY), groups=GROUPS, min_members=_LEAST_MEMBERS, on_progress=show
        )
    if level == "subgroup":
        return catalog
    return emoji_catalog("concept", (QUERY, _GALLERY), groups=GROUPS).with_ids(set(catalog.ids))


class _Clock:
    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._last = time.perf_counter()

    def stop(self, step: str) -> None:
        now = time.perf_counter()
        self.seconds[step] = round(now - self._last, 2)
        self._last = now


def _begun(folder: Path) -> bool:
    return (folder / "run" / "config.yaml").is_file()


def _centred(catalog: Catalog, backbone: Any) -> Encoder:
    features = features_of(catalog, backbone)
    return centred_encoder(backbone, {look: features.of_domain(look).centre for look in (QUERY, _GALLERY)})


def _index(folder: Path, catalog: Catalog, encoder: Encoder) -> Index:
    if (folder / "index.json").is_file():
        return Index.open(folder)
    return Index.build(catalog, encoder, folder)[0]


def _searches(index: Index, catalog: Catalog, concepts: Catalog) -> list[tuple[str, list[Hit]]]:
    names = dict(zip(concepts.ids, concepts.labels, strict=True))
    paths = dict(zip(catalog.ids, catalog.paths, strict=True))
    found: list[tuple[str, list[Hit]]] = []
    searcher = Searcher(index)
    for code in _SEARCHES:
        image = f"{QUERY}/{code}"
        asked = SearchRequest.made_of(images=[paths[image]], domain=QUERY, top=5)
        answer = searcher.answer_request(asked)
        hits = _named([found.hit for found in answer.hits], names)
        found.append((str(names[image]), hits))
    return found


def _named(hits: Sequence[Hit], names: dict[str, str | None]) -> list[Hit]:
    """The hits with the concept's name instead of the subgroup."""
    return [Hit(hit.id, hit.score, hit.path, hit.domain, names.get(hit.id)) for hit in hits]
