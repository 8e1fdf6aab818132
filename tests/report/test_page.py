"""The whole page: nothing from outside, every number there, names escaped, odd input survived."""

from __future__ import annotations

import re

import numpy as np
import pytest

from crosslens.data.catalog import Catalog
from crosslens.features.store import Skipped
from crosslens.report import Embeddings, Section, write_report
from crosslens.report.page import BEST_DEPTH, BEST_QUERIES, PICTURES
from crosslens.report.thumbnails import MAX_BYTES
from crosslens.support.errors import ConfigError, CrosslensError, EvaluationError
from testing.page_parser import Page

LOG = [
    {"epoch": 0, "lr": 0.1, "seconds": 1.0, "losses": {"total": 2.0, "instance_a": 1.0, "instance_b": 1.0}},
    {"epoch": 1, "lr": 0.05, "seconds": 1.0, "losses": {"total": 1.0, "instance_a": 0.5, "instance_b": 0.6}},
]


@pytest.fixture
def make_page(world, tmp_path):
    """Write a page about a weak and a strong encoder and parse it; keywords go to ``write_report``."""

    def make(sections=None, maps=False, **options) -> Page:
        weak, strong = world.vectors(0.3), world.vectors(1.5)
        if sections is None:
            evaluations = {"frozen": world.evaluation(weak), "ucdir": world.evaluation(strong)}
            sections = Section("Results", evaluations)
        options = {"title": "A page", "catalog": world.catalog} | options
        if maps:
            options["embeddings"] = world.embeddings(frozen=weak, ucdir=strong)
        return Page.read(write_report(sections, tmp_path / "report.html", **options))

    return make


def test_page_asks_nothing_of_the_network(make_page):
    page = make_page(maps=True, log=LOG, settings={"method": "ucdir", "domains": ["photo", "sketch"]})
    assert page.html.startswith("<!DOCTYPE html>")
    outside = [r for r in page.references if not r.startswith(("data:image/", "#"))]
    assert outside == []
    assert not page.all("script")
    assert "default-src 'none'" in page.html
    assert not re.search(r"https?:", page.html)


def test_ids_are_unique_and_references_inside_the_page_resolve(make_page):
    page = make_page(maps=True, log=LOG)
    ids = [e.attributes["id"] for e in page.elements if "id" in e.attributes]
    assert len(ids) == len(set(ids))
    inner = {r.removeprefix("#") for r in page.references if r.startswith("#")}
    assert inner <= set(ids)


def test_every_metric_and_interval_is_printed(world, make_page):
    evaluations = {"frozen": world.evaluation(world.vectors(0.3)), "ucdir": world.evaluation(world.vectors(1.5))}
    page = make_page(Section("Results", evaluations))
    for name, evaluation in evaluations.items():
        assert name in page.text
        value = evaluation.to_json()
        for key, number in value["metrics"].items():
            assert key in page.text
            assert f"{number:.4f}" in page.text
        for direction in value["directions"]:
            assert f"{direction['query']} → {direction['gallery']}" in page.text
            for key, number in direction["metrics"].items():
                (low, high), (lowest, highest) = (direction["intervals"][key][k] for k in ("queries", "classes"))
                assert f"{number:.3f}queries {low:.3f} to {high:.3f}" in page.text
                assert f"classes {lowest:.3f} to {highest:.3f}" in page.text
        assert value["convention_description"] in page.text


def test_every_table_of_numbers_names_the_convention_and_has_scopes(make_page):
    page = make_page(log=LOG)
    captions = [e.text for e in page.all("caption")]
    assert len(captions) == len(page.all("table")) >= 5
    assert all("Convention standard: mAP@all" in caption for caption in captions)
    assert all(e.attributes.get("scope") in ("row", "col") for e in page.all("th"))


def test_pictures_have_texts_and_plots_are_described(make_page):
    page = make_page(maps=True, log=LOG)
    assert all(e.attributes.get("alt") for e in page.all("img"))
    for plot in page.all("svg", "plot"):
        assert "figure" in plot.inside
    assert all(e.text.strip() for e in page.all("figcaption"))


def test_wrong_and_right_in_the_grids_are_the_relevance(world, make_page):
    evaluation = world.evaluation(world.vectors(0.5), depth=5)
    page = make_page(Section("Results", {"only": evaluation}), grid_queries=99, grid_depth=5)
    right = sum(int(result.relevant.sum()) for result in evaluation.directions)
    total = sum(result.relevant.size for result in evaluation.directions)
    assert 0 < right < total
    shown = {
        kind: [e for e in page.all("figure", kind) if "article" not in e.inside] for kind in ("right", "wrong")
    }
    assert len(shown["right"]) == right
    assert len(shown["wrong"]) == total - right
    assert page.text.count("✓ right:") == 0
    assert sum("✓" in e.text for e in shown["right"]) == right
    assert sum("✗" in e.text for e in shown["wrong"]) == total - right
    score = evaluation.directions[0].scores[0, 0]
    assert f"{score:.3f}" in page.text


def test_grids_show_base_and_last(world, make_page):
    page = make_page(grid_queries=3, grid_depth=4)
    assert len(page.all("section", "example")) == 2 * 3
    assert len(page.all("ol", "strip")) == 2 * 3 * 2
    assert len([e for e in page.all("figure", "query") if "article" not in e.inside]) == 2 * 3
    none = make_page(grid_queries=0)
    assert not none.all("section", "example")
    assert not none.all("article", "card")


def test_the_first_screen_has_the_verdict_and_good_queries_of_the_best(world, make_page):
    evaluations = {"frozen": world.evaluation(world.vectors(1.5)), "ucdir": world.evaluation(world.vectors(0.3))}
    page = make_page(Section("Results", evaluations), notes=["Mind the gap."], credits=["Drawn by Ann."])
    order = [
        page.html.index(text)
        for text in ("frozen finds best", 'class="card"', "Mind the gap", "<main>", "Drawn by Ann")
    ]
    assert order == sorted(order)
    assert "Where frozen is at its best" in page.text
    cards = page.all("article", "card")
    assert len(cards) == 3
    # Of what the best encoder found: these queries are among its best.
    best = max(result.per_query["map@all"].max() for result in evaluations["frozen"].directions)
    chosen = [e.attributes["title"] for e in page.all("figure", "query") if "article" in e.inside]
    for name in chosen:
        values = [
            value
            for result in evaluations["frozen"].directions
            for identity, value in zip(result.query_ids, result.per_query["map@all"], strict=True)
            if identity == name
        ]
        assert values[0] > 0.7 * best


def test_points_of_the_maps_show_their_pictures_each_once_in_the_page(make_page):
    page = make_page(maps=True, grid_queries=0)
    spots = page.all("i", "spot")
    images = 24
    assert len(spots) == 4 * images
    numbers = {name for e in spots for name in e.classes if re.fullmatch(r"p\d+", name)}
    assert len(numbers) == images
    assert page.html.count("background-image: url(data:image/jpeg") == images
    places = [float(x) for e in spots for x in re.findall(r"[\d.]+", e.attributes["style"])]
    assert all(0 < place < 100 for place in places)


def test_terms_of_the_loss_that_join_later_are_told(make_page):
    log = [
        {"epoch": epoch, "losses": {"total": 1.0 + epoch, "instance": 1.0} | ({"cross": 2.0} if epoch > 1 else {})}
        for epoch in range(4)
    ]
    assert "join as training goes on: cross from epoch 2." in make_page(log=log).text
    zero = [entry | {"losses": {"cross": 0.0} | entry["losses"]} for entry in log]
    assert "cross from epoch 2." in make_page(log=zero).text
    assert "join as training" not in make_page(log=LOG).text


def test_marks_are_prominent(world, make_page):
    marks = ("oracle: labels chose the number of clusters",)
    evaluations = {
        "frozen": world.evaluation(world.vectors(0.3)),
        "ucdir": world.evaluation(world.vectors(1.5), marks=marks),
    }
    page = make_page(Section("Results", evaluations))
    shown = [e.text for e in page.all("span", "mark")]
    tables = 1 + 1 + 2
    assert shown.count(marks[0]) >= tables + 2
    # A number that labels helped to make is never shown as the best.
    assert not page.all("span", "best")


def test_the_best_number_is_marked(make_page):
    best = [e.text for e in make_page().all("span", "best")]
    assert best
    assert all(re.fullmatch(r"[01]\.\d{3,4}", text) for text in best)


def test_hostile_names_stay_text(make_world, tmp_path):
    evil = '<script>alert("1")</script>'
    world = make_world(classes=(evil, "a & b", "$x^{$", "' onload='x"))
    rows = [
        {"id": f"{evil}{row}", "path": path, "domain": domain, "label": label}
        for row, (path, domain, label) in enumerate(
            zip(world.catalog.column("path"), world.catalog.column("domain"), world.catalog.labels, strict=True)
        )
    ]
    world.catalog = Catalog.from_rows(rows, tmp_path, notes=[evil])
    weak, strong = world.vectors(0.3), world.vectors(1.5)
    names = {evil: world.evaluation(weak, name=evil), "$\\frac{": world.evaluation(strong, marks=(evil,))}
    embeddings = Embeddings(
        world.catalog.ids,
        world.catalog.column("domain"),
        {evil: weak, "$\\frac{": strong},
        (Skipped(id=evil, path=evil, reason=evil, stamp=""),),
    )
    log = [{"epoch": 0, "name": evil, "losses": {evil: 1.0, "$\\frac{": 2.0}}, {"failed": True, "at_epoch": evil}]
    path = write_report(
        Section(evil, names, text=evil),
        tmp_path / "report.html",
        title=evil,
        catalog=world.catalog,
        embeddings=embeddings,
        log=log,
        settings={evil: {"inner": evil}, "domains": [evil, "b"]},
        notes=[evil],
    )
    page = Page.read(path)
    assert not page.all("script")
    assert not [name for e in page.elements for name in e.attributes if name.startswith("on")]
    assert evil in page.text


def test_a_lone_surrogate_does_not_stop_the_page(make_page):
    assert "odd ? name" in make_page(notes=["odd \ud800 name"]).text


def test_missing_and_corrupt_images_become_placeholders(world, make_page, tmp_path):
    paths = world.catalog.column("path")
    (tmp_path / paths[0]).unlink()
    (tmp_path / paths[1]).write_bytes(b"\x89PNG\r\n\x1a\nnot a picture")
    (tmp_path / paths[2]).write_bytes(b"")
    page = make_page(grid_queries=12, grid_depth=12)
    missing = {e.text for e in page.all("div", "missing")}
    assert missing == set(paths[:3])


def test_images_of_another_catalog_are_named(world, make_page):
    other = Catalog.from_rows([{"path": "x.png", "domain": "photo"}], world.catalog.root)
    page = make_page(catalog=other)
    assert page.all("div", "missing")
    assert not page.all("img")


def test_one_class_only(make_world, tmp_path):
    world = make_world(classes=("cat",), count=3)
    vectors = world.vectors(1.0)
    section = Section("One class", {"only": world.evaluation(vectors)})
    path = write_report(
        section,
        tmp_path / "report.html",
        title="One",
        catalog=world.catalog,
        embeddings=world.embeddings(only=vectors),
    )
    page = Page.read(path)
    assert "only reaches map@all 1.000" in page.text
    assert len(page.all("figure", "wrong")) == 0


def test_labels_that_are_unknown_for_some(world, make_page):
    labels = list(world.labels["class"])
    labels[0] = labels[-1] = None
    world.labels = {"class": labels}
    page = make_page(grid_queries=12)
    assert "no class" in page.text


def test_two_label_levels_make_two_chapters(world, make_page):
    weak, strong = world.vectors(0.3), world.vectors(1.5)
    sections = [
        Section(
            level.title(),
            {"frozen": world.evaluation(weak, level=level), "ucdir": world.evaluation(strong, level=level)},
            text=f"What to make of {level}.",
        )
        for level in ("class", "concept")
    ]
    page = make_page(sections, maps=True)
    assert [e.text for e in page.all("h2")][1:3] == ["Class", "Concept"]
    assert "What to make of concept." in page.text
    assert f"{sections[1].last.metrics['map@all']:.4f}" in page.text
    # One map before and one after; classes of the labelling that has fewer.
    assert len(page.all("img", "map")) == 4
    legends = " ".join(e.text for e in page.all("figcaption"))
    assert "cat (8)" in re.sub(r"\s+", " ", legends)
    ids = [e.attributes["id"] for e in page.elements if "id" in e.attributes]
    assert len(ids) == len(set(ids))


def test_a_convention_without_map_or_curves(world, make_page):
    evaluations = {
        "frozen": world.evaluation(world.vectors(0.3), convention="ucdir"),
        "ucdir": world.evaluation(world.vectors(1.5), convention="ucdir"),
    }
    page = make_page(Section("Results", evaluations))
    assert re.search(r"(ucdir|frozen) finds? .*p@1", page.text)
    assert "There are no curves" in page.text
    assert "Convention ucdir: UCDIR main.py" in page.text


def test_evaluations_that_do_not_hold_the_same_images(world, make_page):
    base, last = world.evaluation(world.vectors(0.3)), world.evaluation(world.vectors(1.5))
    fewer = [result.subset(np.arange(1, len(result.query_ids))) for result in base.directions]
    base = type(base)("pairs", "standard", "tiny", tuple(fewer), skipped=1)
    page = make_page(Section("Results", {"frozen": base, "ucdir": last}), grid_queries=12)
    assert "do not hold the same images" in page.text
    assert "1 images could not be embedded" in page.text
    # The query that the base lacks is shown with what the last encoder found.
    assert len(page.all("ol", "strip")) == len(page.all("section", "example")) * 2 - 2


def test_training_failures_and_junk_in_the_log(make_page):
    junk = [
        7,
        None,
        {"epoch": "x"},
        {"epoch": 2, "losses": None, "clusters_a": float("nan"), "ready": True},
        {"epoch": 3, "losses": {"total": "nan", "other": 10**400}},
        {"failed": True, "at_epoch": 3, "at_step": 5, "losses": {"total": "nan"}},
        {"failed": True},
    ]
    page = make_page(log=[*LOG, *junk], settings={"domains": ["photo", "sketch"]})
    assert "training failed at epoch 3, step 5 (total nan)" in page.text
    assert "4 epochs were logged" in page.text
    titles = [e.text for e in page.all("strong")]
    assert {"loss total", "loss instance", "lr"} <= set(titles)
    assert "photo from 1 to 0.5" in page.text
    assert "training failed" in make_page(log=[{"failed": True}]).text


def test_settings_are_listed(make_page):
    page = make_page(settings={"method": "ucdir", "settings": {"head": [512, 128], "views": 3}, "domains": None})
    cells = [re.sub(r"\s+", " ", e.text).strip() for e in page.all("tr")]
    assert "settings.head 512, 128" in cells
    assert "settings.views 3" in cells


def test_skipped_images_and_reader_notes(world, make_page):
    weak = world.vectors(0.3)
    skipped = tuple(Skipped(id=f"id-{n}", path="p", reason="it is empty", stamp="") for n in range(60))
    embeddings = Embeddings(world.catalog.ids, world.catalog.column("domain"), {"frozen": weak}, skipped)
    catalog = Catalog(world.catalog.table, world.catalog.root, ("a stray file",))
    page = make_page(embeddings=embeddings, catalog=catalog)
    assert "60 images could not be embedded" in page.text
    assert "id-0: it is empty" in page.text
    assert "id-59" not in page.text
    assert "a stray file" in page.text


def test_same_input_same_page(make_page):
    assert make_page(maps=True, log=LOG).html == make_page(maps=True, log=LOG).html


def test_size_is_bounded_by_the_pictures(make_world, tmp_path):
    world = make_world(count=12)
    evaluations = {"a": world.evaluation(world.vectors(0.3)), "b": world.evaluation(world.vectors(1.0))}
    section = Section("Results", evaluations)
    path = write_report(
        section, tmp_path / "r.html", title="Big", catalog=world.catalog, grid_queries=1000, grid_depth=20
    )
    page = Page.read(path)
    assert 0 < len(page.all("img")) <= PICTURES + BEST_QUERIES * (BEST_DEPTH + 1)
    assert path.stat().st_size < 4 / 3 * MAX_BYTES * PICTURES + 1_000_000


def test_wrong_input_is_explained(world, make_page, tmp_path):
    one = world.evaluation(world.vectors(0.3))
    with pytest.raises(EvaluationError, match="at least one evaluation"):
        Section("Nothing", {})
    with pytest.raises(EvaluationError, match="differ in protocol, convention"):
        Section("Mixed", {"a": one, "b": world.evaluation(world.vectors(0.3), convention="trec")})
    with pytest.raises(EvaluationError, match=r"no per-query 'p@7'.*map@all"):
        Section("Metric", {"a": one}, metric="p@7")
    with pytest.raises(EvaluationError, match="24 ids"):
        Embeddings(world.catalog.ids, world.catalog.column("domain"), {"a": np.zeros((3, 2))})
    with pytest.raises(ConfigError, match="at least one section"):
        make_page([])
    with pytest.raises(ConfigError, match="grid_depth at least 1"):
        make_page(grid_depth=0)
    (tmp_path / "report.html").mkdir()
    with pytest.raises(CrosslensError, match="could not write"):
        make_page()
