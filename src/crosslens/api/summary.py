"""What to say when a run has finished: what it learned from, whether it seems to gain, what to do next."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from crosslens.encoder import Encoder
from crosslens.encoder.parts import Joint, TrainedTower
from crosslens.encoder.untrained import centred_encoder
from crosslens.evaluation.without_labels import LEAST, Agreement, agree_without_labels
from crosslens.features.of_encoder import features_of_encoder, folder_for
from crosslens.methods import AUTO, UNTRAINED, method_class
from crosslens.support.errors import CrosslensError
from crosslens.training.run import Run

if TYPE_CHECKING:
    from numpy.typing import NDArray

SAMPLE = 500
"""Images of each domain that are looked at."""


def summarise_fit(
    run: Run, place: Path | None = None, *, features: Path | None = None, device: str | None = None
) -> list[str]:
    """Three sentences about a finished run, or two where nothing can be said of its gain.

    Args:
        run: finished.
        place: what to measure; the run's own folder by default, or that of its group.
        features: a feature folder of the run's backbone; the cache by default.
        device: where to embed what is not there; None chooses.
    """
    return [_learned(run), *filter(None, [seems_better(run, features, device)]), _next(run, place or run.folder)]


def seems_better(run: Run, features: Path | None = None, device: str | None = None) -> str:
    """Whether a run seems better than ``centred``, told without labels; empty where that cannot be asked."""
    try:
        found = judge_run(run, features, device)
    except CrosslensError:
        # The run is finished and fine; a hint about it must not say otherwise.
        return ""
    if found is None:
        return ""
    numbers = f"pictures alike find the same across the looks: {found.value:.2f}, with 'centred' {found.base:.2f}"
    advice = {
        "better": "seems better than 'centred', which needs no training",
        "alike": "seems no better than 'centred', which needs no training",
        "worse": "seems worse than 'centred', which needs no training; try another method, or take 'centred'",
    }[found.verdict]
    return f"{advice} ({numbers}; a hint without labels, no measurement)"


def judge_run(run: Run, features: Path | None = None, device: str | None = None) -> Agreement | None:
    """A run held against ``centred`` without labels.

    Returns:
        What was found when ``auto`` chose it, else anew; None for a run of which ``look_at_run`` gives nothing.

    Raises:
        CrosslensError: of the kind that fits when its images cannot be read or embedded.
    """
    config = run.config()
    found = config.get(AUTO, {}).get("agreement")
    if found is not None and config["method"] not in UNTRAINED:
        return Agreement(found["value"], found["centred"], found["error"])
    sides = look_at_run(run, features, device)
    return None if sides is None else hold_against_centred(run, sides)


def hold_against_centred(run: Run, sides: Mapping[str, NDArray[np.float32]]) -> Agreement:
    """The same of a run that was looked at.

    Args:
        run: finished.
        sides: what ``look_at_run`` gave.
    """
    encoder = Encoder.load(run.encoder_folder)
    plain = centred_encoder(encoder.backbone, sides, joint=encoder.part(Joint) is not None)
    vectors = [[one.encode_features(rows, domain) for domain, rows in sides.items()] for one in (encoder, plain)]
    return agree_without_labels(list(sides.values()), *vectors)


def look_at_run(
    run: Run, features: Path | None = None, device: str | None = None
) -> dict[str, NDArray[np.float32]] | None:
    """Features of at most ``SAMPLE`` images of every domain that a run learned from, drawn without their labels.

    Args:
        run: finished.
        features: a feature folder of the run's backbone; the cache by default.
        device: where to embed what is not there.

    Returns:
        The frozen backbone's ``(N, D)`` by domain. None for a run that learned nothing, on fewer than two domains,
        on less than 20 images of one, or one whose backbone it changed: then it has no such features.

    Raises:
        CrosslensError: of the kind that fits when its images cannot be read or embedded.
    """
    config = run.config()
    domains = config["domains"]
    if config["method"] in UNTRAINED or len(domains) < 2 or "source" not in config:
        return None
    encoder = Encoder.load(run.encoder_folder)
    if encoder.part(TrainedTower) is not None or encoder.embeds_by_domain:
        return None
    catalog = run.catalog().select(domains=domains).hide_labels()
    rng = np.random.default_rng(0)
    names = np.array(catalog.column("domain"))
    drawn = [
        row for domain in domains for row in rng.permutation(np.flatnonzero(names == domain))[:SAMPLE].tolist()
    ]
    place = folder_for(encoder, features)
    found = features_of_encoder(catalog.take(sorted(drawn)), encoder, folder=place, device=device)
    sides = {domain: found.of_domain(domain).centre for domain in domains}
    return sides if min(map(len, sides.values())) >= LEAST else None


def _learned(run: Run) -> str:
    config, log = run.config(), run.read_log()
    kind = method_class(config["method"])
    images = config.get("images") or 0
    taught = f"{images} images of {', '.join(config['domains'])}" if images else "class names alone"
    if config["method"] in UNTRAINED:
        return f"{config['method']} learns nothing; it was made of {taught}"
    how = "with their labels" if "labels" in kind.learns_from else "without labels"
    if config.get("classes"):
        how += f", and {len(config['classes'])} class names"
    epochs = [entry for entry in log if "epoch" in entry]
    done = f"; {len(epochs)} epochs in {sum(entry.get('seconds', 0) for entry in epochs):.0f} s" if epochs else ""
    return f"learned from {taught}, {how}{done}"


def _next(run: Run, place: Path) -> str:
    config = run.config()
    shown, measured = ("", "") if "source" in config else (" --on PICTURES", " PICTURES")
    return (
        f"next: crosslens report {run.folder}{shown}, to see what it finds; with labelled images,"
        f" crosslens evaluate {place}{measured}; to search, crosslens"
        f" index build PICTURES --encoder {run.folder} --out my.index"
    )
