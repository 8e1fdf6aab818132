"""Train what was chosen beside the untrained features, and take ``centred`` where that seems no worse."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from crosslens.api.auto.choice import KEPT, Choice, choose
from crosslens.api.auto.keeping import keep_untrained
from crosslens.api.auto.observation import observe
from crosslens.api.fit_request import FitRequest
from crosslens.api.summary import hold_against_centred, look_at_run
from crosslens.api.training_images import TrainingImages, select_images
from crosslens.backbones import load_backbone
from crosslens.data.class_names import read_class_names
from crosslens.evaluation.without_labels import Agreement
from crosslens.methods import AUTO, method_class
from crosslens.methods.base import torch_device
from crosslens.support.errors import ConfigError
from crosslens.support.progress import note
from crosslens.training.distributed import join_world
from crosslens.training.run import Run

TrainMethod = Callable[[FitRequest, TrainingImages, Mapping[str, Any]], Run]
_METHODS_OWN = ("settings", "tune", "oracle", "recipe")
"""What belongs to a method that is named."""


def choose_for(asked: FitRequest, selected: TrainingImages | None = None) -> Choice:
    """Look at what a request for ``auto`` gives, and choose a method for it; nothing is trained or written.

    Raises:
        ConfigError: for options that belong to a method, or when there is nothing to learn from.
        CrosslensError: of the kind that fits, when the pictures cannot be read.
    """
    for name in _METHODS_OWN:
        if getattr(asked, name):
            raise ConfigError(f"{AUTO} chooses the method and its settings; to give {name}, name a method")
    names = () if asked.classes is None else read_class_names(asked.classes)
    selected = selected or select_images(asked)
    facts = observe(
        selected.images,
        selected.domains,
        load_backbone(asked.backbone, decode=asked.decode),
        names=names,
        goal=asked.goal,
        features=asked.features,
        workers=asked.workers,
        device=asked.device,
    )
    return choose(facts)


def train_chosen(asked: FitRequest, train: TrainMethod) -> Run:
    """What ``fit auto`` does: choose, train, judge; with ``resume`` go on wherever that stopped.

    Args:
        asked: whose method is ``auto``.
        train: trains a request that names a method.
    """
    if join_world(torch_device(asked.device)).size > 1:
        raise ConfigError(f"{AUTO} chooses in one process: ask with --explain, then fit that method with torchrun")
    run = Run(asked.out)
    choice = Choice.of_run(run) if asked.resume else None
    selected = select_images(asked)
    if choice is None:
        if not asked.resume:
            run.require_new()
        choice = choose_for(asked, selected)
        for sentence in choice.sentences:
            note(sentence)
    if choice.instead_of is None:
        train(_request(asked, choice), selected, choice.to_json())
        untold = choice.method != KEPT and choice.agreement is None
        sides = look_at_run(run, asked.features, asked.device) if untold else None
        if sides is not None:
            share = keep_untrained(run, sides)
            if share is not None:
                note(f"the untrained features keep {share:.0%} of every score: they find what training loses")
            choice = _judged(run, choice, hold_against_centred(run, sides))
    if choice.instead_of is not None:
        run.set_aside(choice.instead_of)
        train(_request(asked.model_copy(update={"resume": True}), choice), selected, choice.to_json())
    return run


def _judged(run: Run, choice: Choice, found: Agreement) -> Choice:
    judged = choice.judged(found)
    run.amend({AUTO: judged.to_json()})
    if judged.instead_of is not None:
        note(
            f"auto takes {KEPT} after all, because {judged.because}; that run is in {run.tried(judged.instead_of)}"
        )
    return judged


def _request(asked: FitRequest, choice: Choice) -> FitRequest:
    kind = method_class(choice.method)
    classes = asked.classes if "names" in kind.learns_from else None
    return asked.model_copy(update={"method": choice.method, "classes": classes})
