"""What the ``lite`` backbone does as it is on a labelled folder: zero-shot labels and retrieval.

Zero-shot labels are the class name whose text, "a photo of a {}", is nearest to the image in the joint space.
Retrieval is mAP@all over all directed pairs of domains, of the joint space and of the image features.

    python benchmarks/lite.py PACS_ROOT --json lite.json
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np

import crosslens
from crosslens.api import open_catalog
from crosslens.features.load import features_of
from crosslens.support.files import write_json


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("root", type=Path, help="a folder root/<domain>/<class>/*")
    parser.add_argument("--backbone", default="lite", help="lite, lite:photo or lite:blend")
    parser.add_argument("--template", default="a photo of a {}")
    parser.add_argument("--features", type=Path, help="a feature folder of this backbone")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    catalog = open_catalog(options.root)
    encoder = crosslens.load_encoder(f"{options.backbone}:joint")
    names = [name.replace("_", " ") for name in catalog.classes]
    texts = encoder.encode_texts([options.template.format(name) for name in names])
    features = features_of(catalog, encoder.backbone, folder=options.features)
    report: dict[str, Any] = {"template": options.template, "zero_shot": {}, "map@all": {}}
    for domain in catalog.domains:
        part = features.of_domain(domain)
        guesses = (encoder.encode_features(part.centre, domain) @ texts.T).argmax(1)
        truth = np.array([catalog.classes.index(label) for label in part.catalog.labels])
        report["zero_shot"][domain] = float((guesses == truth).mean())
        print(f"zero-shot {domain:16s} {report['zero_shot'][domain]:6.1%} of {len(truth)} images")
    for name in (f"{options.backbone}:joint", options.backbone):
        result = crosslens.evaluate(name, catalog, features=options.features)
        report["map@all"][name] = result.metrics["map@all"]
        print(
            f"retrieval {name:16s} {report['map@all'][name]:.4f} mAP@all over {len(result.directions)} directions"
        )
    if options.json:
        write_json(options.json, report)


if __name__ == "__main__":
    main()
