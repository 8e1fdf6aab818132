"""The probability of a counterpart for one index, calibrated once for each of its versions on bounded samples."""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from crosslens.data.catalog import Catalog
from crosslens.ops.calibration import LEAST, MatchCalibration, centre_features
from crosslens.ops.hubs import DEFAULT_GOAL, Goal
from crosslens.search.filters.conditions import Filter
from crosslens.search.index.index import Index
from crosslens.search.index.items import Hit, sample_items
from crosslens.search.index.kept_queries import SAMPLE, KeptQueries, draw_images, keeps_queries, read_queries
from crosslens.search.query.calibrated import Calibrated, read_calibrated, write_calibrated
from crosslens.search.query.combining import Combiner, answer_in_groups
from crosslens.search.query.question import Course, Question
from crosslens.search.query.resolve_domain import resolve_domain
from crosslens.support.addresses import place_of
from crosslens.support.errors import CatalogError, ConfigError, FeatureError
from crosslens.support.progress import note

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float32]

_MOST = 20_000
"""A calibration thins out more rows than these by itself; then nobody knows whose they are."""


class MatchEstimator:
    """Estimates how likely queries have a counterpart in an index.

    With unlabelled queries, and queries made of pictures alone, it rests on the frozen backbone's centred
    features, which tell a missing counterpart best; those of the indexed images come from the cache, or are
    embedded once. Else it rests on the index's own vectors. May be asked by several threads at once.

    Args:
        index: the gallery.
        unlabelled: images like the queries, with and without counterparts; by default those that the index keeps.
            Without any it is calibrated on the gallery alone, which knows nothing of the gap between domains.
        domain: of these images where they name none of the encoder's; their own by default.
        sample: items, and unlabelled images, to look at; at most 20,000.
        device: where to embed; None chooses.
    """

    def __init__(
        self,
        index: Index,
        unlabelled: Catalog | str | Path | None = None,
        domain: str | None = None,
        *,
        sample: int = SAMPLE,
        device: str | None = None,
    ) -> None:
        self.index = index
        self.unlabelled = Catalog.open(unlabelled) if isinstance(unlabelled, str | Path) else unlabelled
        self.domain = domain
        self.sample = min(sample, _MOST)
        self.device = device
        self._made: dict[tuple[bool, Goal], Calibrated] = {}
        self._making = Lock()
        self._together = Combiner(estimate_together)

    @property
    def ready(self) -> bool:
        """Whether the index as it is now was calibrated already for what most ask: pictures, and its own goal."""
        goal = self.index.goal if self.index.goal in self.index.goals else DEFAULT_GOAL
        made = self._made.get(self._kind_of(True, goal))
        return made is not None and made.version == self.index.version

    def is_ready(self, question: Question) -> bool:
        """Whether asking for the probability of this question costs nothing."""
        made = self._made.get(self._kind_of(question.features is not None, question.goal))
        return made is not None and made.version == self.index.version

    def prepare(self) -> None:
        """Calibrate for the index as it is, in every way that a query may ask for, and for many queries.

        Raises:
            StoreError, FeatureError: as ``probability``.
        """
        kinds: list[tuple[bool, Goal]] = [(False, goal) for goal in self.index.goals]
        for pictures, goal in (*kinds, (True, DEFAULT_GOAL)):
            made = self._calibrated(pictures, goal)
            if made.calibration.screen is None:
                quick = replace(made, calibration=made.calibration.quickened())
                kind = self._kind_of(pictures, goal)
                with self._making:
                    if self._made[kind] is made:
                        self._made[kind] = quick

    @property
    def has_queries(self) -> bool:
        """Whether there are unlabelled queries to calibrate on, given or kept by the index."""
        return self.unlabelled is not None or keeps_queries(self.index.folder)

    def is_rough(self, question: Question) -> bool:
        """Whether the probability of a question is no more than a guess: it was calibrated on the indexed images
        alone, and the question is of another look than theirs, or of one that nobody told."""
        made = self._calibrated(question.features is not None, question.goal)
        if made.calibration.source == "queries" or question.of_items:
            return False
        return question.domain not in made.domains

    def __call__(self, question: Question, course: Course, nearest: Sequence[Hit] = ()) -> float:
        """The step of a query's way: ``probability`` of a question; ``nearest`` is what its own vector found."""
        return self.several([(question, course, nearest)])[0]

    def several(self, asked: Sequence[tuple[Question, Course, Sequence[Hit]]]) -> list[float]:
        """The same of several questions; those that need one share a pass over the calibration's gallery."""
        started = time.perf_counter()
        known = [
            self._known_or_asked(
                question.vector,
                question.features,
                nearest,
                question.options.where,
                question.exclude,
                question.goal,
            )
            for question, _, nearest in asked
        ]
        told = self._tell(known)
        seconds = time.perf_counter() - started
        for _, course, _ in asked:
            course.took("match", seconds)
        return told

    def probability(
        self,
        vector: Array,
        features: Array | None = None,
        nearest: Sequence[Hit] = (),
        *,
        where: Filter | None = None,
        exclude: Collection[str] = (),
        goal: Goal = DEFAULT_GOAL,
    ) -> float:
        """Probability in [0, 1) that there is a counterpart of one query among the items that are searched.

        The curve is that of the whole index. What ``where`` and ``exclude`` leave out is left out of the gallery;
        fewer than 10 sampled items left of a larger index say little, and then the vectors of the nearest items
        serve instead.

        Args:
            vector: of the query ``(d,)``, unit length.
            features: of the frozen backbone ``(n, D)``, of the pictures the query is made of; None when words,
                indexed items or negative weights are part of it.
            nearest: what a search with the vector through the items that match ``where`` found, best first, where
                there was one: the first of them that the calibration holds has the largest cosine, which need not
                be looked for again.
            where: the items that are searched; all by default.
            exclude: ids that are not to be found, such as the query's own.
            goal: of the query. On the index's own vectors, ``thing`` is calibrated on the corrected scores; the
                backbone's features know nothing of these, and serve both goals alike.

        Returns:
            The probability; 0 where no item is searched.

        Raises:
            StoreError: for an index of fewer than 10 items.
            FeatureError: when no unlabelled image can be embedded.
        """
        return self._tell([self._known_or_asked(vector, features, nearest, where, exclude, goal)])[0]

    def _tell(self, known: Sequence[float | tuple[MatchCalibration, Array]]) -> list[float]:
        """Probabilities, and for what is to be asked of a calibration its answer."""
        asked = [one for one in known if not isinstance(one, float)]
        answers = iter(self._together.several(asked) if asked else ())
        return [one if isinstance(one, float) else next(answers) for one in known]

    def _known_or_asked(
        self,
        vector: Array,
        features: Array | None,
        nearest: Sequence[Hit],
        where: Filter | None,
        exclude: Collection[str],
        goal: Goal,
    ) -> float | tuple[MatchCalibration, Array]:
        """The probability where it takes no pass over a whole gallery, else which calibration to ask what."""
        made = self._calibrated(features is not None, goal)
        narrowed = where is not None or bool(exclude)
        if narrowed:
            left = _mask_left(made.items, where, exclude)
            if left.sum() < LEAST and made.items.num_rows < len(self.index):
                return self._from_nearest(vector, where, exclude, goal)
            if not left.any():
                return 0.0
        if made.mean is None or features is None:
            largest = next((hit.score for hit in nearest if hit.id in made.ids and hit.id not in exclude), None)
            if largest is not None:
                return float(made.calibration.curve(np.array([largest], np.float32))[0])
            row = vector
        else:
            row = _add_directions(features - made.mean)
        if narrowed:
            among = made.calibration.among(left)
            return float(among.probability(row[None])[0])
        return made.calibration, row

    def _from_nearest(self, vector: Array, where: Filter | None, exclude: Collection[str], goal: Goal) -> float:
        """The probability from the nearest items that are searched, whether they were sampled or not."""
        nearest = self.index.search(vector[None], LEAST + len(exclude), where, goal=goal)[0]
        ids = [hit.id for hit in nearest if hit.id not in exclude]
        if not ids:
            return 0.0
        made = self._calibrated(False, goal).calibration
        numbers = self._numbers_of(ids, goal)
        among = replace(made, gallery=self.index.store.get(ids)[1], numbers=numbers, screen=None)
        return float(among.probability(vector[None])[0])

    def _numbers_of(self, ids: Sequence[str], goal: Goal) -> Array | None:
        return self.index.hub_numbers(ids) if goal == "thing" else None

    def _kind_of(self, pictures: bool, goal: Goal) -> tuple[bool, Goal]:
        """Whether a calibration rests on the backbone's features, which has one goal alone, and its goal."""
        return (True, DEFAULT_GOAL) if pictures and self.has_queries else (False, goal)

    def _calibrated(self, pictures: bool, goal: Goal) -> Calibrated:
        kind = self._kind_of(pictures, goal)
        with self._making:
            version = self.index.version
            if kind not in self._made or self._made[kind].version != version:
                self._made[kind] = self._kept_or_new(version, *kind)
            return self._made[kind]

    def _kept_or_new(self, version: str, pictures: bool, goal: Goal) -> Calibrated:
        if self.unlabelled is not None:
            note(f"calibrating the probability of a match on {len(self.unlabelled)} pictures without a label")
            return self._on_features(version) if pictures else self._on_vectors(version, goal)
        kept = read_queries(self.index.folder, self.index.fingerprint)
        # They may have gone since somebody looked.
        pictures = pictures and kept is not None
        made_from = {
            "basis": "features" if pictures else "vectors" if goal == DEFAULT_GOAL else f"vectors-{goal}",
            "sample": self.sample,
            "queries": "" if kept is None else kept.key,
        }
        found = read_calibrated(self.index, version, **made_from)
        if found is None:
            note("calibrating the probability of a match, once for this version of the index")
            found = self._on_features(version, kept) if pictures else self._on_vectors(version, goal, kept)
            write_calibrated(self.index, found, **made_from)
        return found

    def _on_vectors(self, version: str, goal: Goal, kept: KeptQueries | None = None) -> Calibrated:
        items, gallery = sample_items(self.index.store, self.sample)
        ids = items.column("id").to_pylist()
        numbers = self._numbers_of(ids, goal)
        queries = None if kept is None else kept.vectors
        if self.unlabelled is not None:
            from crosslens.features.of_encoder import features_of_encoder

            drawn = draw_images(self.unlabelled, self.sample)
            if self.domain is not None:
                domain, _ = resolve_domain(self.domain, self.index.encoder.domains)
                drawn = drawn.of_one_domain(str(domain))
            features = features_of_encoder(drawn, self.index.encoder, device=self.device)
            queries = self.index.encoder.encode_features(features.centre, features.catalog.column("domain"))
        try:
            made = MatchCalibration.fit(gallery, queries, numbers=numbers)
        except ConfigError as error:
            if queries is None:
                raise
            # Queries that are copies of indexed pictures all find themselves, which says nothing of others.
            note(f"the pictures without a label do not serve to calibrate ({error}); the indexed ones do instead")
            made = MatchCalibration.fit(gallery, numbers=numbers)
        cosine = made.source == "gallery" and made.score == "cosine" and self.index.similarity.kind == "cosine"
        return Calibrated(version, made, None, items, frozenset(ids if cosine else ()))

    def _on_features(self, version: str, kept: KeptQueries | None = None) -> Calibrated:
        from crosslens.features.load import features_of

        backbone = self.index.encoder.backbone
        if self.unlabelled is not None:
            queries = features_of(draw_images(self.unlabelled, self.sample), backbone, device=self.device).centre
        else:
            assert kept is not None
            queries = kept.features
        parts: list[Array] = []
        ids: list[str] = []
        failed = None
        for catalog in draw_indexed_images(self.index, self.sample):
            try:
                features = features_of(catalog, backbone, device=self.device)
                parts.append(features.centre)
                ids += features.catalog.ids
            except (FeatureError, CatalogError) as error:
                failed = error
        if len(ids) < LEAST:
            if failed or len(self.index) >= LEAST:
                note("the indexed images are gone, so the probability of a match rests on the index's vectors")
            return self._on_vectors(version, DEFAULT_GOAL, kept)
        made = MatchCalibration.fit(centre_features(np.concatenate(parts)), centre_features(queries))
        return Calibrated(version, made, queries.mean(0), self.index.store.get(ids)[0])


def _mask_left(items: pa.Table, where: Filter | None, exclude: Collection[str]) -> NDArray[np.bool_]:
    """Which of G items match a filter and are not left out ``(G,)``."""
    left = np.ones(items.num_rows, dtype=bool) if where is None else where.mask(items)
    if exclude:
        out = pc.is_in(items.column("id"), value_set=pa.array(sorted(exclude), pa.string()))
        left = left & ~np.asarray(out.to_numpy(), dtype=bool)
    return left


def _add_directions(rows: Array) -> Array:
    """The direction ``(D,)`` of the sum of rows ``(n, D)``, each of the same weight."""
    mixed = (rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)).sum(0)
    mixed /= max(float(np.linalg.norm(mixed)), 1e-12)
    return np.asarray(mixed, np.float32)


def estimate_together(asked: Sequence[tuple[MatchCalibration, Array]]) -> list[float]:
    """Probabilities of vectors ``(d,)`` by their calibrations; those of one calibration in one pass."""
    return answer_in_groups(asked, lambda calibration, rows: calibration.probability(rows).tolist())


def draw_indexed_images(index: Index, most: int, seed: int = 0) -> list[Catalog]:
    """At most ``most`` indexed images, drawn at random, as one catalog for each folder they were indexed from."""
    rng = np.random.default_rng(seed)
    kept: list[dict[str, str]] = []
    seen = 0
    for table, _ in index.scan():
        # Reservoir sampling: every item stays with the same chance, and no more than ``most`` are held.
        for row in table.select(["id", "path", "root", "domain"]).to_pylist():
            seen += 1
            if len(kept) < most:
                kept.append(row)
            elif (replaced := int(rng.integers(seen))) < most:
                kept[replaced] = row
    folders: dict[str, list[dict[str, str]]] = {}
    for row in kept:
        inside = row["root"] and row["path"] == f"{row['root'].rstrip('/')}/{row['id']}"
        folders.setdefault(row["root"] if inside else "/", []).append(
            {"id": row["id"], "path": row["id"] if inside else row["path"], "domain": row["domain"]}
        )
    return [Catalog.from_rows(rows, place_of(root)) for root, rows in folders.items()]
