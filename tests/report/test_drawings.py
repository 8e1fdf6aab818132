"""Queries that are chosen, classes in the table, maps and thumbnails."""

from __future__ import annotations

import base64
import io

import numpy as np
import pytest
from PIL import Image

from crosslens.report import Section, tables
from crosslens.report.grids import choose_queries, draw_grids
from crosslens.report.lines import Line, draw_lines
from crosslens.report.maps import draw_maps, lay_out
from crosslens.report.thumbnails import MAX_BYTES, SIDE, Thumbnails


def test_chosen_queries_are_the_ends_and_the_middle(world):
    base = world.evaluation(world.vectors(0.4, seed=1)).directions[0]
    last = world.evaluation(world.vectors(0.6, seed=2)).directions[0]
    chosen = choose_queries(base, last, "map@all", 6)
    rows = [row for row, _ in chosen]
    assert len(set(rows)) == 6
    change = last.per_query["map@all"] - base.per_query["map@all"]
    kinds = {kind.split(" (")[0]: row for row, kind in reversed(chosen)}
    assert set(kinds) == {"typical", "gained most", "lost most"}
    assert change[kinds["gained most"]] == change.max()
    assert change[kinds["lost most"]] == change.min()
    assert f"({change.max():+.3f})" in dict(chosen)[kinds["gained most"]]
    assert choose_queries(base, last, "map@all", 6) == chosen


def test_without_a_base_best_and_worst_are_chosen(world):
    only = world.evaluation(world.vectors(0.6)).directions[0]
    values = only.per_query["map@all"]
    chosen = {kind: row for row, kind in reversed(choose_queries(only, only, "map@all", 3))}
    assert values[chosen["among the best"]] == values.max()
    assert values[chosen["among the worst"]] == values.min()


@pytest.mark.parametrize("count", [1, 2, 5, 11, 12, 50])
def test_never_more_queries_than_there_are(world, count):
    base = world.evaluation(world.vectors(0.4)).directions[0]
    last = world.evaluation(world.vectors(0.9)).directions[0]
    for first in (base, last):
        rows = [row for row, _ in choose_queries(first, last, "map@all", count)]
        assert len(rows) == len(set(rows)) == min(count, 12)


def test_ends_prefer_different_classes(make_world):
    world = make_world(classes=("a", "b", "c"), count=8)
    only = world.evaluation(world.vectors(0.6)).directions[0]
    best = [row for row, kind in choose_queries(only, only, "map@all", 9) if kind == "among the best"]
    assert sorted(only.query_labels[best].tolist()) == ["a", "b", "c"]


def test_grids_keep_to_the_number_of_pictures(world):
    section = Section("S", {"a": world.evaluation(world.vectors(0.3)), "b": world.evaluation(world.vectors(1.0))})
    thumbnails = Thumbnails({})

    def count(pictures: int) -> int:
        grids = draw_grids(section, thumbnails, queries=6, depth=5, pictures=pictures)
        examples = [example for grid in grids for example in grid.examples]
        return sum(1 + sum(len(strip.hits) for strip in example.strips) for example in examples)

    assert count(1000) == 2 * 6 * 11
    assert count(50) == 2 * 2 * 11
    assert count(21) == 11
    assert count(10) == 0


def test_class_table_agrees_with_the_results(world):
    base, last = world.evaluation(world.vectors(0.3)), world.evaluation(world.vectors(1.0))
    table = tables.class_table(Section("S", {"a": base, "b": last}))
    assert {row.name for row in table.rows} == {"cat", "dog", "owl"}
    assert [row.delta for row in table.rows] == sorted((row.delta for row in table.rows), reverse=True)
    for row in table.rows:
        pooled = [r.per_query["map@all"][r.query_labels == row.name] for r in last.directions]
        assert row.values[1] == pytest.approx(np.concatenate(pooled).mean())
        assert row.delta == pytest.approx(row.values[1] - row.values[0])
        assert row.queries == 8
    assert max(row.share for row in table.rows) == 1.0


def test_many_classes_are_cut_in_the_middle(make_world):
    world = make_world(classes=tuple(f"class {n:03d}" for n in range(70)), count=1)
    section = Section("S", {"a": world.evaluation(world.vectors(0.3)), "b": world.evaluation(world.vectors(1.0))})
    table = tables.class_table(section)
    assert len(table.rows) == tables.MAX_CLASSES
    assert table.left_out == 10


def test_a_difference_of_nothing_has_no_bar(world):
    same = world.evaluation(world.vectors(0.3))
    table = tables.class_table(Section("S", {"a": same, "b": same}))
    assert all(row.share == 0 for row in table.rows)
    assert tables.comparisons(Section("S", {"a": same, "b": same}))[0].comparison.p_value == 1.0


def test_thumbnails_are_small_and_bare(tmp_path):
    rng = np.random.default_rng(0)
    noise = Image.fromarray(rng.choice(np.array([0, 255], np.uint8), (400, 300, 3)))
    noise.save(tmp_path / "a.jpg", comment=b"secret" * 1000, icc_profile=b"x" * 5000, quality=100)
    Image.new("L", (1, 3000)).save(tmp_path / "thin.png")
    thumbnails = Thumbnails({"a": tmp_path / "a.jpg", "thin": tmp_path / "thin.png", "folder": tmp_path})
    for name, size in (("a", (72, 96)), ("thin", (1, 96))):
        uri = thumbnails.uri(name)
        content = base64.b64decode(uri.removeprefix("data:image/jpeg;base64,"))
        assert len(content) <= MAX_BYTES
        assert b"secret" not in content
        picture = Image.open(io.BytesIO(content))
        assert picture.size == size
        assert max(picture.size) <= SIDE
        assert not {"comment", "icc_profile", "exif"} & set(picture.info)
    assert thumbnails.uri("folder") is None
    assert thumbnails.uri("unknown") is None


@pytest.mark.parametrize(("count", "width"), [(0, 4), (1, 4), (2, 4), (5, 1), (29, 4), (40, 1), (40, 3), (60, 80)])
def test_any_number_of_points_can_be_laid_out(count, width):
    vectors = np.random.default_rng(0).normal(size=(count, width)).astype(np.float32)
    places, way = lay_out(vectors, seed=0)
    assert places.shape == (count, 2)
    assert np.isfinite(places).all()
    assert way.startswith("t-SNE" if count >= 30 and width > 1 else "PCA")
    np.testing.assert_array_equal(places, lay_out(vectors, seed=0)[0])


def test_equal_vectors_lie_in_one_place():
    places, way = lay_out(np.ones((50, 8), np.float32), seed=0)
    assert way == "PCA"
    assert not places.any()


def test_layout_keeps_groups_apart():
    rng = np.random.default_rng(0)
    groups = np.repeat([0, 1], 40)
    vectors = rng.normal(size=(80, 20)) + 20 * groups[:, None]
    places, _ = lay_out(vectors.astype(np.float32), seed=0)
    centres = np.stack([places[groups == g].mean(axis=0) for g in (0, 1)])
    nearest = np.linalg.norm(places[:, None] - centres, axis=2).argmin(axis=1)
    np.testing.assert_array_equal(nearest, groups)


def test_maps_sample_and_group(world):
    embeddings = world.embeddings(a=world.vectors(1.0))
    labels = {image: f"class {n}" for n, image in enumerate(embeddings.ids)}
    (drawn,) = draw_maps(embeddings, labels, encoders=["a"], points=20, seed=0)
    assert drawn.points == 20
    by_domain, by_class = drawn.panels
    assert sum(entry.count for entry in by_domain.legend) == 20
    assert [entry.name for entry in by_domain.legend] == ["photo", "sketch"]
    assert len(by_class.legend) == 11
    assert by_class.legend[-1].name == "all others"
    assert by_class.legend[-1].count == 10
    picture = Image.open(io.BytesIO(base64.b64decode(by_class.uri.split(",")[1])))
    assert picture.size == (660, 660)


def test_lines_break_at_gaps_and_take_the_pages_colours():
    plot = str(
        draw_lines("x", [Line([0, 1, 2], [1.0, float("inf"), 2.0], 3), Line([0], [1.0], 11)], x_name="epoch")
    )
    assert "var(--series-3)" in plot
    assert "#0a0b" not in plot
    assert "inf" not in plot
