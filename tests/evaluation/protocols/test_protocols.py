"""Every convention under every protocol, and who takes part: labels, roles, copies, ties."""

import json
import shutil

import numpy as np
import pytest

import crosslens
from crosslens.data.catalog import Catalog
from crosslens.datasets.tu_berlin import SPLIT as TU_BERLIN
from crosslens.encoder import Encoder
from crosslens.evaluation.conventions import CONVENTIONS, Metric
from crosslens.evaluation.measured import Side, rank_directions
from crosslens.support.errors import EvaluationError
from testing.tiny_backbone import TinyBackbone, register_tiny
from testing.tiny_pictures import make_pictures

ORDER = ["sketch", "photo"]
PROTOCOLS = ["pairs", "close-set", "partial", "open-set", "zero-shot", "zero-shot generalised", "uccdr"]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Pictures of two looks, of classes that TU-Berlin knows, unevenly many."""
    register_tiny()
    folder = tmp_path_factory.mktemp("protocols")
    drawn = make_pictures(folder / "drawn", count=6)
    names = dict(
        zip(("circle", "cross", "square", "triangle"), (*TU_BERLIN.unseen[:3], TU_BERLIN.seen[0]), strict=True)
    )
    for look in ORDER:
        for number, (shape, name) in enumerate(names.items()):
            shutil.copytree(drawn / look / shape, folder / "pictures" / look / name)
            if look == "sketch":
                for extra in range(number):
                    (folder / "pictures" / look / name / f"{extra:02d}.png").unlink()
    return folder


@pytest.fixture
def world(place, monkeypatch):
    monkeypatch.setenv("CROSSLENS_CACHE", str(place / "cache"))
    return place / "pictures"


def measure(source, **options):
    return crosslens.evaluate(crosslens.load_encoder("tiny"), source, **{"domains": ORDER, "k": (1, 5)} | options)


def rows_of(root, **changes):
    catalog = Catalog.open(root)
    rows = catalog.table.to_pylist()
    return [row | {key: change(row) for key, change in changes.items()} for row in rows], catalog.root


def changed(root, **changes):
    return Catalog.from_rows(*rows_of(root, **changes))


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("convention", CONVENTIONS)
def test_every_convention_under_every_protocol(world, convention, protocol):
    name, *more = protocol.split()
    options = {"unseen": TU_BERLIN.unseen[0] + "," + TU_BERLIN.unseen[1]} if name == "zero-shot" else {}
    result = measure(world, protocol=name, convention=convention, generalised=bool(more), **options)
    value = json.loads(json.dumps(result.to_json(), allow_nan=False))
    for direction in value["directions"]:
        for key, number in direction["metrics"].items():
            for low, high in direction["intervals"][key].values():
                assert 0 <= low <= number <= high <= 1
    if protocol == "open-set":
        penalised = value["no_match"]["map@all with wrongly rejected queries as 0"]
        plain = measure(world, protocol=name)
        assert penalised <= plain.metrics["map@all"] + 1e-9 or convention == "zse"
        if convention in ("ucdir", "second_table"):
            usual = plain.extra["no_match"]["map@all with wrongly rejected queries as 0"]
            assert penalised == pytest.approx(usual)


@pytest.mark.parametrize("convention", CONVENTIONS)
def test_every_convention_is_compared(world, convention):
    (base, other), (found,) = crosslens.compare(["tiny", "tiny:1"], world, convention=convention, domains=ORDER)
    assert found.metric == ("map@all" if "map@all" in base.metrics else next(iter(base.metrics)))
    assert found.difference == pytest.approx(other.metrics[found.metric] - base.metrics[found.metric], abs=1e-12)


class TestLabels:
    def test_images_without_a_label_take_no_part(self, world):
        full = measure(world)
        rows, root = rows_of(world)
        extra = [{"path": row["path"], "id": "again/" + row["path"], "domain": row["domain"]} for row in rows[::3]]
        part = measure(Catalog.from_rows([*rows, *extra], root))
        assert part.metrics == full.metrics
        assert part.unlabelled == len(extra)
        value = part.to_json()
        assert value["unlabelled"] == len(extra)
        assert [d["queries"] for d in value["directions"]] == [d["queries"] for d in full.to_json()["directions"]]
        assert any(f"{len(extra)} image(s) have no label" in note for note in value["notes"])
        assert full.to_json()["unlabelled"] == 0

    @pytest.mark.parametrize("protocol", ["close-set", "partial", "zero-shot", "uccdr"])
    def test_in_every_protocol(self, world, protocol):
        options = {"unseen": TU_BERLIN.unseen[0]} if protocol == "zero-shot" else {}
        options |= {"generalised": True} if protocol == "zero-shot" else {}
        rows, root = rows_of(world)
        extra = [{"path": row["path"], "id": "again/" + row["path"], "domain": row["domain"]} for row in rows[::3]]
        full = measure(world, protocol=protocol, **options)
        part = measure(Catalog.from_rows([*rows, *extra], root), protocol=protocol, **options)
        assert part.metrics == full.metrics
        assert part.unlabelled == len(extra)

    def test_a_domain_without_any_is_refused(self, world):
        source = changed(world, label=lambda row: row["label"] if row["domain"] == "photo" else None)
        with pytest.raises(EvaluationError, match="no image of the domain 'sketch' has a label"):
            measure(source)


def test_queries_that_nothing_can_answer_are_told_with_the_names_that_may_be_meant(world):
    name = TU_BERLIN.seen[0]

    def spelled(row):
        return row["label"].upper() if row["domain"] == "sketch" and row["label"] == name else row["label"]

    value = measure(changed(world, label=spelled)).to_json()
    # Three sketches of this class, and six photos.
    assert [direction["without_relevant"] for direction in value["directions"]] == [3, 6]
    told = [note for note in value["notes"] if "no relevant item" in note]
    assert len(told) == 2
    assert all(name in note and name.upper() in note and "two spellings" in note for note in told)
    usual = measure(world).to_json()
    assert [direction["without_relevant"] for direction in usual["directions"]] == [0, 0]
    assert usual["notes"] == []


class TestRoles:
    def test_a_manifest_of_queries_and_a_gallery_is_one_direction(self, world):
        source = changed(world, role=lambda row: "query" if row["domain"] == "sketch" else "gallery")
        result = measure(source)
        assert [(d.query_domain, d.gallery_domain) for d in result.directions] == [("sketch", "photo")]
        whole = measure(world).directions[0]
        assert result.directions[0].metrics == whole.metrics
        assert any("'role'" in note and "photo -> sketch" in note for note in result.to_json()["notes"])

    @pytest.mark.parametrize("protocol", PROTOCOLS)
    def test_rows_ask_and_answer_as_their_role_says(self, world, protocol):
        roles = {}

        def role(row):
            roles[row["id"]] = ("query", "gallery", "both")[len(roles) % 3]
            return roles[row["id"]]

        name, *more = protocol.split()
        options = {"unseen": ",".join(TU_BERLIN.unseen[:2])} if name == "zero-shot" else {}
        result = measure(changed(world, role=role), protocol=name, generalised=bool(more), **options)
        for direction in result.directions:
            assert {roles[image] for image in direction.query_ids.tolist()} == {"query", "both"}
            assert {roles[image] for image in direction.gallery_ids.tolist()} == {"gallery", "both"}

    def test_roles_that_leave_nothing_are_refused(self, world):
        with pytest.raises(EvaluationError, match="'role' leaves no direction"):
            measure(changed(world, role=lambda row: "query"))


def test_the_same_file_in_both_domains_is_told(world, tmp_path):
    assert "copied_queries" not in measure(world).extra
    root = tmp_path / "copied"
    shutil.copytree(world, root)
    name = TU_BERLIN.seen[0]
    shutil.copy(root / "photo" / name / "00.png", root / "sketch" / name / "copy.png")
    # Another label makes it no hit.
    shutil.copy(root / "photo" / name / "01.png", root / "sketch" / TU_BERLIN.unseen[0] / "other.png")
    result = measure(root)
    assert result.to_json()["copied_queries"] == [1, 1]
    assert any("the very same file" in note and "copy.png" in note for note in result.to_json()["notes"])


def sides(vectors, labels=("a", "a", "b", "b")):
    rows = np.asarray(vectors, dtype=np.float32)
    return [Side(domain, [f"{domain}{n}" for n in range(4)], list(labels), rows, rows) for domain in ("x", "y")]


def test_ties_that_move_a_number_are_told():
    """A collapsed encoder on a gallery sorted by class: both halves of the ranking are an accident."""
    metrics = CONVENTIONS["standard"].metrics((1,))
    query, gallery = sides(np.ones((4, 2)))
    ranked = rank_directions([(query, gallery)], metrics, "standard", 10)
    # Of a: 1 1 0 0 is 1; of b: 0 0 1 1 is (1/3 + 2/4) / 2.
    assert ranked.directions[0].metrics["map@all"] == pytest.approx((1 + (1 / 3 + 2 / 4) / 2) / 2)
    (ties,) = ranked.ties
    # The mean over the six orders of two hits among four.
    orders = [(1, 2), (1, 3), (1, 4), (2, 3), (2, 4), (3, 4)]
    assert ties["metrics"]["map@all"] == pytest.approx(np.mean([(1 / a + 2 / b) / 2 for a, b in orders]))
    assert ties["metrics"]["p@1"] == pytest.approx(0.5)
    assert any("equal scores" in note and "0.708" in note and "0.681" in note for note in ranked.notes)
    # Interpolated metrics have no closed form; the plain mean precision stands for them.
    voc = rank_directions([(query, gallery)], [Metric("AP", interpolation="voc")], "zse", 10)
    assert voc.ties[0]["metrics"] == {}
    assert any("0.708" in note and "0.681" in note for note in voc.notes)


def test_ties_between_items_of_one_class_are_no_matter():
    query, gallery = sides([[1, 0], [1, 0], [0, 1], [0, 1]])
    ranked = rank_directions([(query, gallery)], CONVENTIONS["standard"].metrics((1,)), "standard", 10)
    assert (ranked.ties, ranked.notes) == ((), ())


def test_ties_reach_the_result(world):
    class Flat(TinyBackbone):
        pass

    encoder = Encoder(Flat())
    encoder.encode_features = lambda features, domain: np.tile(np.float32([0.6, 0.8]), (len(features), 1))
    value = crosslens.evaluate(encoder, world, domains=ORDER, k=(1, 5)).to_json()
    assert len(value["expected_over_ties"]) == 2
    assert sum("equal scores" in note for note in value["notes"]) == 2
    means = crosslens.evaluate(encoder, world, domains=ORDER, k=(1, 5), ties="expected").to_json()
    for direction, told in zip(means["directions"], value["expected_over_ties"], strict=True):
        assert direction["metrics"] == pytest.approx(told["metrics"])
    assert "expected_over_ties" not in means
    assert means["notes"] == ["items with equal scores are ranked as the mean over their orders"]


@pytest.mark.parametrize("protocol", ["pairs", "open-set", "zero-shot", "uccdr"])
def test_the_mean_over_orders_in_every_protocol(world, protocol):
    """Without ties it is the usual number."""
    options = {"unseen": ",".join(TU_BERLIN.unseen[:2])} if protocol == "zero-shot" else {}
    usual, means = (measure(world, protocol=protocol, ties=ties, **options) for ties in ("stable", "expected"))
    assert means.metrics == pytest.approx({key: usual.metrics[key] for key in means.metrics})
    assert set(usual.metrics) - set(means.metrics) <= {"map@200-sempcyc"}


def test_a_convention_without_a_mean_over_orders_says_so(world):
    with pytest.raises(EvaluationError, match="no closed form for voc and hits"):
        measure(world, convention="zse", ties="expected")
    with pytest.raises(EvaluationError, match="ties='any' is not one of stable, expected"):
        measure(world, ties="any")


@pytest.mark.parametrize(
    "options", [{}, {"protocol": "close-set"}, {"protocol": "zero-shot", "unseen": "DOG,dog"}]
)
def test_domains_without_a_common_class_are_told_of_spellings(world, options):
    def spelt(row):
        name = "dog" if row["label"] == TU_BERLIN.seen[0] else row["label"]
        return name.upper() if row["domain"] == "photo" else name.lower()

    with pytest.raises(EvaluationError, match=r"no class in common.*; 'DOG' and 'dog' look like one class"):
        measure(changed(world, label=spelt), **options)
