"""Results for other programs, held against their own packages where these are installed."""

from __future__ import annotations

import json
from urllib.parse import parse_qs, urlparse

import numpy as np
import pytest

from crosslens.data.catalog import Catalog
from crosslens.evaluation.conventions import Metric
from crosslens.evaluation.measured import Evaluation
from crosslens.evaluation.results import evaluate_retrieval
from crosslens.report.exchange import write_exchange
from crosslens.search.index.items import Hit
from crosslens.search.query.query import Answer, FoldedHit
from crosslens.support.errors import ConfigError

ANSWER = Answer(
    (
        FoldedHit(Hit("a b.png", 0.75, "/pictures/a b.png", "photo", "dog", columns={"price": 3, "new": True})),
        FoldedHit(Hit("ä.png", -0.25, "/pictures/ä.png", "photo", None, columns={"price": 2.5})),
    )
)
INTERFACE = """<View><Image name="image" value="$image"/>
<Choices name="label" toName="image"><Choice value="dog"/><Choice value="cat"/></Choices></View>"""


def read(file):
    return json.loads(file.read_text(encoding="utf-8"))


def test_hits_are_a_data_set_of_fiftyone(tmp_path):
    write_exchange(tmp_path / "h.fiftyone.json", ANSWER, name="photos")
    value = read(tmp_path / "h.fiftyone.json")
    # As fiftyone.Dataset.from_dict reads it.
    assert (value["name"], value["media_type"]) == ("photos", "image")
    first, second = value["samples"]
    assert first["filepath"] == "/pictures/a b.png"
    assert first["ground_truth"] == {"_cls": "Classification", "tags": [], "label": "dog"}
    assert (first["score"], first["rank"], first["crosslens_id"]) == (0.75, 1, "a b.png")
    assert "ground_truth" not in second
    kinds = {key: kind.removeprefix("fiftyone.core.fields.") for key, kind in value["sample_fields"].items()}
    assert kinds["ground_truth"] == "EmbeddedDocumentField(fiftyone.core.labels.Classification)"
    told = {key: kinds[key] for key in ("score", "rank", "price", "new", "crosslens_id")}
    assert told == {
        "score": "FloatField", "rank": "IntField", "price": "FloatField", "new": "BooleanField",
        "crosslens_id": "StringField",
    }  # fmt: skip
    standard = {"filepath", "tags", "_media_type"}
    assert all(set(sample) - standard <= set(kinds) for sample in value["samples"])


def test_hits_are_tasks_of_label_studio(tmp_path):
    write_exchange(tmp_path / "h.labelstudio.json", ANSWER)
    first, second = read(tmp_path / "h.labelstudio.json")
    paths = [parse_qs(urlparse(task["data"]["image"]).query)["d"] for task in (first, second)]
    assert paths == [["pictures/a b.png"], ["pictures/ä.png"]]
    (prediction,) = first["predictions"]
    assert prediction["score"] == 0.75
    assert prediction["result"][0]["value"] == {"choices": ["dog"]}
    assert "predictions" not in second
    interface = pytest.importorskip("label_studio_sdk.label_interface").LabelInterface(INTERFACE)
    assert interface.validate_prediction(prediction, return_errors=True) == []


def test_columns_of_people_s_own_take_nothing_away(tmp_path):
    own = {"image": "x", "tags": "a", "score": 2, "_id": "i", "a b": 1, "a_b": 2, "$$": 3, "keywords": ["k", "l"]}
    answer = Answer((FoldedHit(Hit("1", 0.5, "/p/1.png", "photo", "dog", columns=own)),))
    write_exchange(tmp_path / "h.fiftyone.json", answer)
    value = read(tmp_path / "h.fiftyone.json")
    (sample,) = value["samples"]
    assert (sample["tags"], sample["score"], sample["filepath"]) == ([], 0.5, "/p/1.png")
    told = {
        key: sample[key] for key in ("own_tags", "own_score", "own_id", "a_b", "own_a_b", "column", "keywords")
    }
    assert list(told.values()) == ["a", 2, "i", 1, 2, 3, ["k", "l"]]
    assert value["sample_fields"]["keywords"] == (
        "fiftyone.core.fields.ListField(fiftyone.core.fields.StringField)"
    )
    assert not [name for name in value["sample_fields"] if name.startswith("_") or not name.isidentifier()]
    write_exchange(tmp_path / "h.labelstudio.json", answer)
    (task,) = read(tmp_path / "h.labelstudio.json")
    assert task["data"]["image"].endswith("p/1.png")
    assert (task["data"]["score"], task["data"]["own_score"], task["data"]["own_image"]) == (0.5, 2, "x")


def test_an_evaluation_proposes_the_class_of_the_best_hit(tmp_path):
    rows = [("q/1", "q1.png", "sketch", "dog"), ("q/2", "q2.png", "sketch", None)]
    images = Catalog.from_rows([{"id": i, "path": p, "domain": d, "label": n} for i, p, d, n in rows], tmp_path)
    result = evaluate_retrieval(
        np.array([[1.0, 0], [0, 1]]), np.array([[0, 1.0], [1, 0.1]]), ["dog", ""], ["dog", "cat"],
        query_ids=["q/1", "q/2"], gallery_ids=["g/1", "g/2"], metrics=[Metric("AP", empty="skip")], depth=2,
        query_domain="sketch", gallery_domain="photo",
    )  # fmt: skip
    evaluation = Evaluation("pairs", "standard", "lite", (result,))
    write_exchange(tmp_path / "e.fiftyone.json", evaluation, images)
    first, second = read(tmp_path / "e.fiftyone.json")["samples"]
    assert first["filepath"] == str(tmp_path / "q1.png")
    assert (first["ground_truth"]["label"], first["prediction"]["label"]) == ("dog", "cat")
    assert first["prediction"]["confidence"] == pytest.approx(1)
    assert (first["gallery"], first["map_all"]) == ("photo", result.per_query["map@all"][0])
    assert (second["prediction"]["label"], "map_all" in second) == ("dog", False)
    with pytest.raises(ConfigError, match="images="):
        write_exchange(tmp_path / "e.fiftyone.json", evaluation)
    with pytest.raises(ConfigError, match="2 of the queries are not among"):
        write_exchange(tmp_path / "e.fiftyone.json", evaluation, images.take([]))


def test_another_ending_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="must end in"):
        write_exchange(tmp_path / "hits.json", ANSWER)
