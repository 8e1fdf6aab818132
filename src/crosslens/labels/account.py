"""What a run says about its pseudo-labels: ``labels.json``, ``labels.parquet`` and a line on the screen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pyarrow as pa

from crosslens.labels.pseudo_labels import PseudoLabels
from crosslens.support.errors import TrainingError
from crosslens.support.files import atomic_path, write_json
from crosslens.support.progress import note


def write_account(
    folder: Path,
    names: Sequence[str],
    ids: Mapping[str, Sequence[str]],
    labels: Mapping[str, PseudoLabels],
    took: Mapping[str, bool],
) -> None:
    """Write and print the account of a run's pseudo-labels. How right they are is for ``evaluate`` to say.

    Args:
        folder: of the run.
        names: C class names.
        ids: per domain the image ids.
        labels: per domain the pseudo-labels, in the same order.
        took: per domain whether it took labels from the other one; empty when labels were not spread.

    Raises:
        TrainingError: when fewer than two classes have a kept image in any domain.
    """
    accounts = {domain: found.account(tuple(names)) for domain, found in labels.items()}
    for domain, is_taking in took.items():
        accounts[domain]["took_labels_from_the_other_domain"] = is_taking
    lacking = [set(account["empty_classes"]) for account in accounts.values()]
    if len(names) - len(set.intersection(*lacking)) < 2:
        raise TrainingError(
            "the class names match no images: fewer than two of them have an image that is kept. Check --classes,"
            " or keep more (--set keep=1 --set floor=0)"
        )
    value = {"reconstruction": True, "classes": list(names), "domains": accounts}
    write_json(folder / "labels.json", value)
    import pyarrow.parquet as pa_parquet

    tables = [
        pa.table(
            {
                "id": list(ids[domain]),
                "label": [names[label] for label in found.labels.tolist()],
                "confidence": [round(share, 6) for share in found.confidence.tolist()],
                "kept": found.kept.tolist(),
            }
        )
        for domain, found in labels.items()
    ]
    with atomic_path(folder / "labels.parquet") as temporary:
        pa_parquet.write_table(pa.concat_tables(tables), temporary)
    for domain, account in accounts.items():
        empty = account["empty_classes"]
        without = f"; no image for {', '.join(empty)}" if empty else ""
        note(
            f"{domain}: {account['kept_share']:.0%} of {account['images']} labels kept, mean confidence"
            f" {account['mean_confidence']:.2f}, {account['effective_classes']:.1f} classes in effect{without}"
        )
