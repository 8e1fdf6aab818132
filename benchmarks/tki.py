"""TKI and its controls on a labelled folder that no training sees: mAP@all over all directions, paired tests.

    python benchmarks/tki.py PACS_ROOT --backbones lite,lite:blend --seeds 0,1,2 --json tki.json
    python benchmarks/tki.py PACS_ROOT --names imagenet --rows raw,tki,euclid

Every row is trained on class names alone: those of ROOT (``--names own``), ImageNet's 1,000
(``--names imagenet``), or a file's. ``centred`` sees unlabelled images and is marked so. Rows are compared with
``raw``, the joint space as it is, query by query: the mean over seeds, and p of a paired randomisation test.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from crosslens.api import evaluate, open_catalog
from crosslens.backbones import load_backbone
from crosslens.backbones.base import Backbone
from crosslens.backbones.lite import imagenet_names
from crosslens.data.class_names import read_class_names
from crosslens.encoder import Encoder
from crosslens.encoder.parts import Centre, Joint, ProjectionHead
from crosslens.evaluation.significance import paired_randomisation
from crosslens.features.load import features_of
from crosslens.methods.tki.domain_words import DomainTexts, WordsConfig, expand
from crosslens.methods.tki.method import TKIConfig
from crosslens.methods.tki.text_aggregation import aggregate
from crosslens.nn.similarity import Similarity
from crosslens.training.run import Run

HAND = (
    *("photo", "sketch", "painting", "cartoon", "drawing", "clipart", "watercolor", "pencil", "infographic"),
    *("silhouette", "comic", "realistic", "abstract", "logo", "sculpture", "toy", "tattoo", "embroidery"),
    *("mosaic", "blueprint"),
)
TEMPLATES = ("a X style of a {class}", "a {class} in a X style", "a photo of a {class} with X like style")
SPECIFICATION = {
    **{"start": "identity", "slope": 0.1, "proxies": "class", "stop_at": 0.0},
    **{"schedule": "constant", "ties": False, "keep_start": False},
}
"""The proposals of the reconstruction for the aggregation, as in the recipe ``tki-spec``."""


@dataclass(frozen=True)
class Row:
    """One line of the table: settings of the expansion and of the aggregation."""

    words: dict[str, Any] = field(default_factory=dict)
    projection: dict[str, Any] = field(default_factory=dict)


ROWS: dict[str, Row | None] = {
    "raw": None,
    "raw features; Euclidean": None,
    "raw features; cosine": None,
    "centred (sees images)": None,
    "tki": Row(),
    "euclid": Row({}, {"geometry": "euclid"}),
    "euclid_exp": Row({}, {"geometry": "euclid_exp"}),
    "hnnpp": Row({}, {"geometry": "hnnpp"}),
    "cosine ranking": Row({}, {"ranking": "cosine"}),
    "sequential": Row({"learn": "sequential", "classes_per_step": 0}),
    "hand-written words": Row({"given": HAND}),
    "random words": Row({"learn": "random"}),
    "without diversity": Row({"diversity_weight": 0.0}),
    "without consistency": Row({"consistency_weight": 0.0}),
    "template: in a X style": Row({"template": "a {class} in a X style"}),
    "template: with X like style": Row({"template": "a photo of a {class} with X like style"}),
    "three templates": Row({"template": TEMPLATES}),
    "K=5": Row({"words": 5}),
    "K=20": Row({"words": 20}),
    "K=5; random": Row({"words": 5, "learn": "random"}),
    "K=20; random": Row({"words": 20, "learn": "random"}),
    "c=0.01": Row({}, {"curvature": 0.01}),
    "c=1": Row({}, {"curvature": 1.0}),
    "d=64": Row({}, {"dim": 64}),
    "d=128": Row({}, {"dim": 128}),
    "r_out=0.5": Row({}, {"radius_out": 0.5}),
    "r_out=2.3": Row({}, {"radius_out": 2.3}),
    "r_out=none": Row({}, {"radius_out": None}),
    "tau=0.1": Row({}, {"temperature": 0.1}),
    "tau=0.2": Row({}, {"temperature": 0.2}),
    "tau=0.4": Row({}, {"temperature": 0.4}),
    "tau=1": Row({}, {"temperature": 1.0}),
    "projected proxies": Row({}, {"proxies": "class"}),
    "no stop at 30 %": Row({}, {"stop_at": 0.0}),
    "100 epochs; no stop": Row({}, {"stop_at": 0.0, "epochs": 100, "patience": 0}),
    "slope=0.5": Row({}, {"slope": 0.5}),
    "slope=1": Row({}, {"slope": 1.0}),
    "identity start": Row({}, {"start": "identity"}),
    "identity start; slope=0.5": Row({}, {"start": "identity", "slope": 0.5}),
    "random start": Row({}, {"start": "random"}),
    "specification": Row({}, SPECIFICATION),
    "specification; euclid": Row({}, SPECIFICATION | {"geometry": "euclid"}),
    "tki; centred (sees images)": Row({}, {"centre": True}),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("root", type=Path, help="a folder root/<domain>/<class>/*")
    parser.add_argument("--rows", default=",".join(ROWS), help=f"of {', '.join(ROWS)}".replace("%", "%%"))
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--backbones", default="lite", help="for example lite,lite:blend")
    parser.add_argument("--names", default="own", help="own, imagenet or a file with one name a line")
    parser.add_argument("--features", type=Path, help="a feature folder of ROOT")
    parser.add_argument("--set", action="append", default=[], help="a setting for every row, key=value")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    catalog = open_catalog(options.root)
    if options.names == "own":
        names: tuple[str, ...] = tuple(catalog.classes)
    else:
        given = dict.fromkeys(imagenet_names()) if options.names == "imagenet" else Path(options.names)
        names = read_class_names(given if isinstance(given, Path) else unique(given))
    results: dict[str, Any] = {"names": len(names), "images": len(catalog), "rows": {}}
    for backbone in options.backbones.split(","):
        bench = Bench(backbone, catalog, names, options)
        for row in options.rows.split(","):
            results["rows"][f"{backbone} {row}"] = value = bench.row(row)
            show(f"{backbone} {row}", value)
            if options.json:
                options.json.write_text(json.dumps(results, indent=2))


class EuclideanFeatures(Encoder):
    """A backbone's features as they are, none normalised, compared by Euclidean distance.

    So does ProS's zero-shot script. It is the distance in a ball so wide that it is flat.
    """

    def __init__(self, backbone: Backbone, longest: float) -> None:
        super().__init__(backbone)
        self._flat = Similarity(kind="lorentz", curvature=1e-12, radius=longest)

    @property
    def similarity(self) -> Similarity:
        """Of Euclidean distances."""
        return self._flat

    def encode_rows(self, features: torch.Tensor, names: Sequence[str | None]) -> torch.Tensor:
        """Features ``(N, D)`` to the rows that are compared, ``(N, D + 3)``."""
        return self._flat.rows(features.float())


class Bench:
    """Measures rows on one backbone; words that rows share are learned once a seed."""

    def __init__(self, backbone: str, catalog: Any, names: tuple[str, ...], options: Any) -> None:
        from crosslens.cli.options import parse_settings

        self.backbone, self.catalog, self.names = load_backbone(backbone), catalog, names
        self.features, self.settings = options.features, parse_settings(options.set)
        self.seeds = [int(seed) for seed in options.seeds.split(",")]
        self.texts: dict[str, tuple[DomainTexts, dict[str, float], float]] = {}
        self.base: np.ndarray | None = None

    def row(self, name: str) -> dict[str, Any]:
        """Mean over directions and seeds, the seeds, the directions, and what was learned."""
        row = ROWS[name]
        if row is None:
            measured = [self._measure(self._untrained(name))]
            facts: dict[str, Any] = {}
        else:
            fitted = [self._fit(row, seed) for seed in self.seeds]
            measured = [self._measure(encoder) for encoder, _ in fitted]
            facts = {key: [one.get(key) for _, one in fitted] for key in fitted[0][1]}
        values = np.array([[d.metrics["map@all"] for d in one.directions] for one in measured])
        queries = np.mean(
            [np.concatenate([d.per_query["map@all"] for d in one.directions]) for one in measured], axis=0
        )
        if name == "raw":
            self.base = queries
        result = {
            "map@all": float(values.mean()),
            "seeds": values.mean(1).tolist(),
            "directions": {
                f"{d.query_domain}->{d.gallery_domain}": float(value)
                for d, value in zip(measured[0].directions, values.mean(0), strict=True)
            },
            **facts,
        }
        if self.base is not None and name != "raw":
            test = paired_randomisation(queries, self.base)
            result |= {"p against raw": test.p_value, "queries": test.queries}
        return result

    def _untrained(self, name: str) -> Encoder:
        if name == "raw features; cosine":
            return Encoder(self.backbone)
        if name == "raw features; Euclidean":
            features = features_of(self.catalog, self.backbone, folder=self.features).centre
            return EuclideanFeatures(self.backbone, float(np.linalg.norm(features, axis=1).max()))
        means = self._means(centred=name != "raw")
        return Encoder(self.backbone, [Joint(self.backbone), Centre(means)])

    def _means(self, *, centred: bool) -> dict[str, torch.Tensor]:
        if not centred:
            return {}
        found = features_of(self.catalog, self.backbone, folder=self.features)
        return {
            domain: self.backbone.to_joint(torch.from_numpy(found.of_domain(domain).centre)).mean(0)
            for domain in self.catalog.domains
        }

    def _fit(self, row: Row, seed: int) -> tuple[Encoder, dict[str, Any]]:
        config = TKIConfig(**(self.settings | row.words | row.projection))
        with tempfile.TemporaryDirectory() as folder:
            texts, facts, words_seconds = self._expanded(config, seed, Path(folder) / "words")
            (Path(folder) / "run").mkdir()
            started = time.perf_counter()
            projection, learned = aggregate(config, texts, seed=seed, run=Run(Path(folder) / "run"))
            log = Run(Path(folder) / "run").read_log()
        means = self._means(centred=config.centre)
        parts = [Joint(self.backbone), Centre(means), ProjectionHead(projection)]
        encoder = Encoder(self.backbone, parts, method="tki")
        seconds = {"words seconds": words_seconds, "projection seconds": time.perf_counter() - started}
        with torch.no_grad():
            images = torch.from_numpy(features_of(self.catalog, self.backbone, folder=self.features).centre)
            before = self.backbone.to_joint(images)
            after = projection.tangent(projection(before))
            lengths, rows = after.norm(dim=1), texts.texts.flatten(0, 1)
            offsets = [
                float((images.mean(0) - of_texts.mean(0)).norm())
                for images, of_texts in ((before, rows), (after, projection.tangent(projection(rows))))
            ]
        last = {
            "last loss": log[-1]["losses"]["total"],
            "radius of texts": [log[-1]["radius"], log[-1]["radius_std"]],
            "offset of images from texts, before and after": offsets,
            "radius of images": [float(lengths.mean()), float(lengths.std())],
        }
        return encoder, facts | learned | last | seconds

    def _expanded(self, config: TKIConfig, seed: int, folder: Path) -> tuple[DomainTexts, dict[str, float], float]:
        words = WordsConfig(**{key: getattr(config, key) for key in WordsConfig.model_fields})
        key = f"{seed} {words.model_dump_json()}"
        if key not in self.texts:
            folder.mkdir()
            started = time.perf_counter()
            texts, facts = expand(words, self.backbone, self.names, seed=seed, run=Run(folder))
            self.texts[key] = texts, facts, time.perf_counter() - started
        return self.texts[key]

    def _measure(self, encoder: Encoder) -> Any:
        return evaluate(encoder, self.catalog, features=self.features, ks=(15,), depth=1)


def unique(names: Any) -> list[str]:
    """Names without those that differ in case alone (ImageNet has ``crane`` and ``maillot`` twice)."""
    return list({name.casefold(): name for name in reversed(list(names))}.values())[::-1]


def show(row: str, value: dict[str, Any]) -> None:
    seeds = ", ".join(f"{seed:.4f}" for seed in value["seeds"])
    p = f"  p {value['p against raw']:.4f}" if "p against raw" in value else ""
    print(f"{row:36} mAP@all {value['map@all']:.4f}  seeds {seeds}{p}", flush=True)


if __name__ == "__main__":
    main()
