"""TKI's second stage: a projection that brings all descriptions of a class together, whatever their domain word.

The proxies are texts of the classes; the loss is a softmax over distances to them. Nothing here has seen an image.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from crosslens.losses.text import proxy_nca
from crosslens.methods.base import MethodConfig
from crosslens.methods.tki.domain_words import DomainTexts
from crosslens.nn.hyperbolic import largest_radius
from crosslens.nn.projection import Projection, ProjectionSettings, ProjectionShape
from crosslens.ops.rounding import difference
from crosslens.support.progress import note
from crosslens.training.batches import generator_for
from crosslens.training.loop import train
from crosslens.training.run import Run
from crosslens.training.schedules import SCHEDULES

TEMPERATURES = (0.1, 0.2, 0.4, 1.0)
"""What the temperature rule chooses from."""
_ALIVE = (0.65, 0.90)
"""Share of log N that the first loss should have: below, little is left to learn; above, all look alike."""


class AggregationConfig(ProjectionSettings, MethodConfig):
    """Settings of the aggregation; those of the projection come from ``ProjectionSettings``."""

    # Open in the paper, which has a non-Euclidean perceptron and texts as proxies.
    hidden: int = Field(0, ge=0)
    """Width of the projection's middle; 0 takes D."""
    dim: int = Field(0, ge=0)
    """d, width of the projection's output; 0 takes D."""
    temperature: Literal["auto"] | Annotated[float, Field(gt=0)] = "auto"
    """tau > 0 of the softmax over distances to the proxies; ``auto`` takes the one of 0.1, 0.2, 0.4, 1 whose first
    loss is 65 to 90 % of log N."""
    epochs: int = Field(20, ge=1)
    """Passes over all descriptions at most."""
    batch_size: int = Field(256, ge=2)
    """Descriptions a step."""
    lr: float = Field(1e-3, gt=0)
    """Learning rate of Adam."""
    clip_gradient: float = Field(1.0, gt=0)
    """Largest gradient norm of a step."""
    hold_out: float = Field(0.1, ge=0, lt=0.9)
    """Share of the domain words, and of 20 or more classes also of the names, that only choose the epoch."""
    patience: int = Field(3, ge=0)
    """Epochs without a rise of the held-out retrieval among texts before training stops; 0 never."""

    # What this project adds.
    proxies: Literal["text", "class"] = "text"
    """``text`` are the plain class names where the untrained projection puts them, so that classes keep their
    places and only the domains go; ``class`` projects them anew each step, which also drives classes apart."""
    centre: bool = False
    """Take the mean text off all texts, and the mean image of each domain off its images, which needs ROOT
    (unlabelled images are seen, so it is no longer TKI's setting)."""
    schedule: Literal["cosine", "constant"] = "cosine"
    """Of the learning rate; ``cosine`` over ``epochs``, or ``constant``."""
    keep_start: bool = True
    """Where no epoch is as good on held-out texts as the start was, leave the projection as it began."""
    ties: bool = True
    """Take an epoch as good as the best for as good a one; else only a better one is, and the first is kept."""
    stop_at: float = Field(0.3, ge=0, lt=1)
    """Share of log N at which the loss is low enough and training stops; 0 never. With few names it is the brake
    that matters: a projection trained further forgets all that sets images apart but these names."""

    removed: ClassVar[Mapping[str, Any]] = {"loss": "proxy_nca", "margin": 0.0, "noise": 0.0, "relation": 0.0}

    def shape(self, dim: int) -> ProjectionShape:
        """The projection for a joint space of ``dim`` numbers."""
        own = {key: getattr(self, key) for key in ProjectionSettings.model_fields}
        return ProjectionShape(sizes=(dim, self.hidden or dim, self.dim or dim), **own)


def aggregate(
    config: AggregationConfig, texts: DomainTexts, *, seed: int, run: Run
) -> tuple[Projection, dict[str, Any]]:
    """Train the projection on the texts of an expansion, resuming where the run stopped.

    Returns:
        The projection of the best epoch, and what the model card says about it.

    Raises:
        TrainingError: when the loss stops being finite.
    """
    training = Aggregation(config, texts, seed)
    train(
        training,
        run,
        label="aggregating domains",
        after_epoch=training.observe,
        schedule=SCHEDULES[config.schedule],
        done=training.is_done,
    )
    projection, facts = training.finish(), training.facts()
    warnings = training.warnings()
    for warning in warnings:
        note(warning, "yellow")
    return projection, facts | ({"warnings": warnings} if warnings else {})


class Aggregation:
    """Text-proxied domain aggregation; a ``Trainable`` of the training loop.

    Args:
        config: settings.
        texts: what the expansion gave.
        seed: of initial weights and batches.
    """

    def __init__(self, config: AggregationConfig, texts: DomainTexts, seed: int) -> None:
        self.config, self.seed = config, seed
        self.u, self.t = texts.texts, texts.classes
        if config.centre:
            mean = self.u.flatten(0, 1).mean(0)
            self.u, self.t = (F.normalize(difference(x, mean, -1), dim=-1) for x in (self.u, self.t))
        count, names = self.u.shape[:2]
        held_words = min(max(1, round(config.hold_out * count)), count - 1) if config.hold_out else 0
        # A handful of names are all needed for training; the words alone then choose the epoch.
        held_names = round(config.hold_out * names) if names >= 20 else 0
        order = torch.randperm(names, generator=generator_for(seed, -1, -3))
        self.names, self.held_names = order[: names - held_names], order[names - held_names :]
        self.train_words, self.held_words = count - held_words, held_words
        torch.manual_seed(seed)
        self.projection = Projection(config.shape(self.t.shape[1])).to(self.t.device)
        with torch.no_grad():
            self.places = self.projection(self.t[self.names])
        self.temperature = self._choose_temperature() if config.temperature == "auto" else config.temperature
        self.first_loss = float(self._probe())
        parameters = list(self.projection.parameters())
        self.optimizer: torch.optim.Optimizer = torch.optim.Adam(parameters, lr=config.lr)

        def clip(*_: Any) -> None:
            nn.utils.clip_grad_norm_(parameters, config.clip_gradient)

        self.optimizer.register_step_pre_hook(clip)
        self.epochs = config.epochs
        self.pairs = self.train_words * len(self.names)
        self.steps = max(1, self.pairs // config.batch_size)
        # Epoch -1 is the projection before training, which stays where no epoch is as good on held-out texts.
        self.first_held = self.held_score()
        self.best, self.best_epoch, self.epoch = (self.first_held if config.keep_start else -1.0), -1, -1
        self.share = self.first_loss / math.log(len(self.names))
        self.best_weights = self._weights()

    def start_epoch(self, epoch: int) -> Mapping[str, float]:
        """Nothing to prepare."""
        return {}

    def step(self, epoch: int, step: int) -> Mapping[str, Tensor]:
        """The loss of one batch of descriptions: a softmax over distances to the classes' proxies."""
        order = torch.randperm(self.pairs, generator=generator_for(self.seed, epoch, -1))
        chosen = order[step * self.config.batch_size : (step + 1) * self.config.batch_size]
        words, index = chosen % self.train_words, (chosen // self.train_words).to(self.t.device)
        rows = self.u[words.to(self.t.device), self.names.to(self.t.device)[index]]
        loss = self._loss(self.projection(rows), index)
        return {"total": loss, "aggregation": loss}

    def _loss(self, z: Tensor, index: Tensor) -> Tensor:
        return proxy_nca(self.projection.distance(z, self._proxies()), index, self.temperature)

    def _proxies(self) -> Tensor:
        """Where the class names are: fixed with ``text``, otherwise projected."""
        return self.places if self.config.proxies == "text" else self.projection(self.t[self.names])

    def _tangents(self, rows: Tensor) -> Tensor:
        return self.projection.tangent(self.projection(rows))

    @torch.no_grad()
    def observe(self, epoch: int) -> dict[str, float]:
        """After every epoch: retrieval among held-out texts, and how far out the projected texts lie."""
        self.epoch = epoch
        self.share = float(self._probe()) / math.log(len(self.names))
        held = self.held_score()
        # With nothing held out every epoch is as good, so the last one is kept.
        ties = self.config.ties or not self.held_words
        if held > self.best or (ties and held == self.best):
            self.best, self.best_epoch, self.best_weights = held, epoch, self._weights()
        lengths = self._tangents(self.u[:, self.names].flatten(0, 1)[:: max(1, self.pairs // 4096)]).norm(dim=1)
        info = {
            "heldout_text_map": held,
            "loss_share": self.share,
            "radius": float(lengths.mean()),
            "radius_std": float(lengths.std()),
            "bias": self.projection.bias_length(),
        }
        if self.config.geometry != "euclid":
            info["at_edge"] = float((lengths > 0.98 * self.projection.shape.widest).float().mean())
        self.info = info
        return info

    @torch.no_grad()
    def held_score(self) -> float:
        """Mean reciprocal rank of the own class name, among all, for descriptions that training does not use.

        With one relevant name a description, that is their mAP. 1 where no word is held out.
        """
        if not self.held_words:
            return 1.0
        names = (self.held_names if len(self.held_names) else self.names).to(self.t.device)
        p = self.projection(self.t)
        ranks = []
        for word in range(self.train_words, self.train_words + self.held_words):
            distances = self.projection.distance(self.projection(self.u[word, names]), p)
            own = distances.gather(1, names[:, None])
            ranks.append(1 + (distances < own).sum(1))
        return float((1 / torch.cat(ranks)).mean())

    def is_done(self) -> bool:
        """Whether the loss is low enough, or held-out retrieval fell ``patience`` epochs ago."""
        late = bool(self.config.patience) and self.epoch - self.best_epoch >= self.config.patience
        return late or self.share < self.config.stop_at

    def finish(self) -> Projection:
        """The projection of the best epoch, bounded by how far out it brings texts."""
        self.projection.load_state_dict(self.best_weights)
        with torch.no_grad():
            farthest = max(float(self._tangents(rows).norm(dim=1).max()) for rows in (*self.u, self.t))
        self.projection.bound(farthest)
        return self.projection

    def facts(self) -> dict[str, Any]:
        """What the model card says about the training."""
        share = self.first_loss / math.log(len(self.names))
        return {
            "temperature": self.temperature,
            "first loss, share of log N": round(share, 3),
            "last loss, share of log N": round(self.share, 3),
            "epoch": self.best_epoch,
            "held-out retrieval among texts": round(self.best, 4),
            "held-out retrieval before training": round(self.first_held, 4),
        }

    def warnings(self) -> list[str]:
        """What went wrong without being an error, and what to do about it."""
        found = []
        if self.config.geometry != "euclid":
            at_edge = getattr(self, "info", {}).get("at_edge", 0.0)
            edge = 0.98 * largest_radius(self.config.curvature)
            if at_edge > 0.05:
                widest = self.projection.shape.widest
                found.append(
                    f"{at_edge:.0%} of the projected texts lie at the edge of the ball's usable part (radius"
                    f" {widest:.2g} for curvature {self.config.curvature:g}; float32 ranks nothing farther out),"
                    " where distances are cut and gradients die; bound their radius"
                    f" (--set radius_out={min(1.0, widest / 2):.2g}) or lower --set curvature"
                )
            if min(self.config.scale, self.config.radius_in or math.inf) > edge:
                found.append(
                    f"every text enters the ball at its edge ({edge:.2f} for curvature {self.config.curvature:g});"
                    " lower --set scale, --set radius_in or --set curvature"
                )
        if self.best_epoch < 0 <= self.epoch:
            found.append(
                "no epoch told held-out texts apart as well as the start did, so the projection stays as it began;"
                " more words (--set words) or other names may help"
            )
        share = self.first_loss / math.log(len(self.names))
        if share < _ALIVE[0] / 2:
            found.append(
                f"the first loss is only {share:.0%} of log N: the texts are told apart already, and little is"
                " learned; raise the temperature (--set temperature=1)"
            )
        return found

    def _choose_temperature(self) -> float:
        """The temperature whose first loss lies nearest to the middle of ``_ALIVE``."""
        middle = sum(_ALIVE) / 2

        def off(temperature: float) -> float:
            return abs(float(self._probe(temperature)) / math.log(len(self.names)) - middle)

        return min(TEMPERATURES, key=off)

    @torch.no_grad()
    def _probe(self, temperature: float | None = None) -> Tensor:
        """The loss of up to 2,048 descriptions before training."""
        order = torch.randperm(self.train_words * len(self.names), generator=generator_for(self.seed, -1, -4))
        chosen = order[:2048]
        index = (chosen // self.train_words).to(self.t.device)
        rows = self.u[(chosen % self.train_words).to(self.t.device), self.names.to(self.t.device)[index]]
        distances = self.projection.distance(self.projection(rows), self._proxies())
        return proxy_nca(distances, index, temperature or self.temperature)

    def _weights(self) -> dict[str, Tensor]:
        return {key: value.detach().clone() for key, value in self.projection.state_dict().items()}

    def undo_step(self) -> None:
        """Nothing: a step changes nothing before the optimiser does."""

    def state(self) -> dict[str, Any]:
        """Weights, the best ones so far, and the optimiser."""
        return {
            "projection": self.projection.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "best": (self.best, self.best_epoch, self.epoch, self.share),
            "best_weights": self.best_weights,
        }

    def load_state(self, state: dict[str, Any]) -> None:
        """Take over what ``state`` gave."""
        self.projection.load_state_dict(state["projection"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.best, self.best_epoch, self.epoch, self.share = state["best"]
        self.best_weights = {key: value.to(self.t.device) for key, value in state["best_weights"].items()}
