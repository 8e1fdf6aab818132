"""Results in the import formats of FiftyOne and Label Studio."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np

from crosslens.data.catalog import Catalog
from crosslens.evaluation.measured import Evaluation
from crosslens.search.query.query import Answer
from crosslens.support.addresses import whole_name
from crosslens.support.errors import ConfigError
from crosslens.support.files import write_json

FIFTYONE, LABEL_STUDIO = ".fiftyone.json", ".labelstudio.json"
"""Endings of a file, which tell its format."""

_LABEL = "fiftyone.core.fields.EmbeddedDocumentField(fiftyone.core.labels.Classification)"
_FIELDS: dict[type, str] = {
    str: "fiftyone.core.fields.StringField",
    bool: "fiftyone.core.fields.BooleanField",
    int: "fiftyone.core.fields.IntField",
    float: "fiftyone.core.fields.FloatField",
    list: "fiftyone.core.fields.ListField(fiftyone.core.fields.StringField)",
}
_TAKEN_FIFTYONE = frozenset(
    {
        "id", "pk", "filepath", "filename", "tags", "metadata", "media_type", "media_reference", "created_at",
        "last_modified_at", "frames", "groups", "field_names", "meta", "objects", "clean", "copy", "delete",
        "merge", "reload", "save", "score", "rank", "crosslens_id", "domain", "gallery", "ground_truth",
        "prediction",
    }
)  # fmt: skip
_TAKEN_LABEL_STUDIO = frozenset({"image", "score", "rank", "id", "domain", "gallery"})
"""What a column of people's own cannot be called in these programs, or in these files."""


@dataclass(frozen=True)
class Example:
    """One image and what was found out about it.

    Attributes:
        path: of the image, absolute.
        label: its class, where known.
        predicted: the class that is proposed for it, where there is one.
        score: of the hit, or of what the proposal comes from.
        values: what else is known.
        columns: of people's own.
    """

    path: str
    label: str | None = None
    predicted: str | None = None
    score: float | None = None
    values: Mapping[str, str | int | float] = field(default_factory=dict)
    columns: Mapping[str, Any] = field(default_factory=dict)


def write_exchange(
    file: str | Path, found: Answer | Evaluation, images: Catalog | None = None, *, name: str = "crosslens"
) -> None:
    """Write results for another program: ``*.fiftyone.json`` or ``*.labelstudio.json``.

    FiftyOne reads the first with ``fiftyone.Dataset.from_json(FILE)``. Label Studio imports the second as tasks
    with predictions, for a labelling interface with ``<Image name="image" value="$image"/>`` and
    ``<Choices name="label" toName="image">``; the pictures are its local files, below the document root ``/``.

    Args:
        file: to write; replaced in one step.
        found: hits of a search, or an evaluation.
        images: what was evaluated on, which knows where the images lie; a search needs none.
        name: of the data set in FiftyOne.

    Raises:
        ConfigError: for another ending, or an evaluation without its images.
    """
    kind = exchange_format(file)
    if isinstance(found, Answer):
        examples = _answer_examples(found)
    elif images is None:
        raise ConfigError("an evaluation does not know where its images lie; give them too (images=)")
    else:
        examples = _evaluation_examples(found, images)
    value = _to_fiftyone(examples, name) if kind == FIFTYONE else _to_label_studio(examples)
    write_json(Path(file), value)


def exchange_format(file: str | Path) -> str:
    """``FIFTYONE`` or ``LABEL_STUDIO``, by the ending of a file.

    Raises:
        ConfigError: for another ending.
    """
    for kind in (FIFTYONE, LABEL_STUDIO):
        if Path(file).name.lower().endswith(kind):
            return kind
    raise ConfigError(f"{str(file)!r} must end in {FIFTYONE} or {LABEL_STUDIO}, which tells the format")


def _answer_examples(answer: Answer) -> list[Example]:
    """The hits of a search, best first; the class of an indexed image is its own, not proposed."""
    return [
        Example(
            shown.hit.path,
            label=shown.hit.label,
            score=shown.hit.score,
            values={"rank": rank, "id": shown.hit.id, "domain": shown.hit.domain},
            columns=shown.hit.columns,
        )
        for rank, shown in enumerate(answer.hits, start=1)
    ]


def _evaluation_examples(evaluation: Evaluation, images: Catalog) -> list[Example]:
    """The queries of an evaluation, once for each direction, with the class of the best hit as the proposed one.

    Raises:
        ConfigError: when ``images`` are not those that were evaluated on.
    """
    paths = dict(zip(images.ids, images.paths, strict=True))
    examples = []
    for result in evaluation.directions:
        missing = [image for image in result.query_ids.tolist() if image not in paths]
        if missing:
            raise ConfigError(
                f"{len(missing)} of the queries are not among these images, the first {missing[0]!r}"
            )
        for row, image in enumerate(result.query_ids.tolist()):
            best = int(result.top[row, 0]) if result.depth else None
            names = result.gallery_labels
            values: dict[str, str | int | float] = {
                "id": image,
                "domain": result.query_domain,
                "gallery": result.gallery_domain,
            }
            values |= {
                _field_name(key): float(column[row])
                for key, column in result.per_query.items()
                if np.isfinite(column[row])
            }
            label = None if result.query_labels is None else str(result.query_labels[row]) or None
            proposed = None if best is None or names is None else str(names[best]) or None
            score = None if best is None else float(result.scores[row, 0])
            examples.append(Example(whole_name(paths[image]), label, proposed, score, values))
    return examples


def _to_fiftyone(examples: Sequence[Example], name: str) -> dict[str, Any]:
    """A data set as ``fiftyone.Dataset.from_dict`` takes it."""
    samples: list[dict[str, Any]] = []
    kinds: dict[str, type] = {"score": float}
    names = _own_names(examples, _TAKEN_FIFTYONE, _field_name)
    for example in examples:
        sample: dict[str, Any] = {"filepath": example.path, "tags": [], "_media_type": "image"}
        if example.label is not None:
            sample["ground_truth"] = _classification(example.label)
        if example.predicted is not None:
            sample["prediction"] = _classification(example.predicted, example.score)
        if example.score is not None:
            sample["score"] = example.score
        # Samples have an id of their own in FiftyOne.
        values = {"crosslens_id" if key == "id" else key: value for key, value in example.values.items()}
        values |= {names[key]: value for key, value in example.columns.items()}
        for key, value in values.items():
            # Of whole and other numbers in one column all are numbers.
            kinds[key] = float if {kinds.get(key, type(value)), type(value)} == {int, float} else type(value)
        samples.append(sample | values)
    fields = {key: _FIELDS[kind] for key, kind in kinds.items()}
    labels = {key: _LABEL for key in ("ground_truth", "prediction") if any(key in sample for sample in samples)}
    return {"name": name, "media_type": "image", "sample_fields": fields | labels, "info": {}, "samples": samples}


def _to_label_studio(examples: Sequence[Example]) -> list[dict[str, Any]]:
    """Tasks as Label Studio imports them; a class that is known or proposed is a prediction to be confirmed."""
    tasks = []
    names = _own_names(examples, _TAKEN_LABEL_STUDIO, str)
    for example in examples:
        choice = example.predicted or example.label
        data: dict[str, Any] = {
            "image": "/data/local-files/?d=" + quote(example.path.lstrip("/").encode("utf-8", "surrogateescape")),
            **example.values,
            **{names[key]: value for key, value in example.columns.items()},
        }
        task: dict[str, Any] = {"data": data}
        if example.score is not None:
            data["score"] = example.score
        if choice is not None:
            region = {
                "from_name": "label",
                "to_name": "image",
                "type": "choices",
                "value": {"choices": [choice]},
            }
            score = {} if example.score is None else {"score": min(max(example.score, 0.0), 1.0)}
            task["predictions"] = [{"model_version": "crosslens", "result": [region], **score}]
        tasks.append(task)
    return tasks


def _classification(label: str, confidence: float | None = None) -> dict[str, Any]:
    value: dict[str, Any] = {"_cls": "Classification", "tags": [], "label": label}
    return value if confidence is None else value | {"confidence": confidence}


def _own_names(
    examples: Sequence[Example], taken: AbstractSet[str], named: Callable[[str], str]
) -> dict[str, str]:
    """What each column of people's own is called in another program, no two alike and none like what is there."""
    found: dict[str, str] = {}
    for key in dict.fromkeys(key for example in examples for key in example.columns):
        name = named(key)
        while name in taken or name in found.values():
            name = f"own_{name}"
        found[key] = name
    return found


def _field_name(key: str) -> str:
    """A text as the name of a field: ``map@all`` becomes ``map_all``."""
    return re.sub(r"\W+", "_", key).lstrip("_") or "column"
