"""The training of instance contrast, ProtoNCE, UCDIR and CLAIR: two views, a momentum encoder, memory banks.

The order within a step is UCDIR's: query forward, momentum update, key forward in shuffled order, bank write,
losses, optimiser step. With which losses is said by an ``Objective``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any, Generic, Literal, TypeVar

import torch
from pydantic import Field
from torch import Tensor

from crosslens.encoder import Encoder
from crosslens.methods.base import FitJob, Method
from crosslens.methods.best_epoch import BestEpoch
from crosslens.methods.tuned import HEAD_OR_BACKBONE, Member, Tuned, TunedConfig, members_of
from crosslens.nn.momentum import momentum_copy, momentum_update
from crosslens.training.bank import BankSample
from crosslens.training.batches import DomainBatches, generator_for
from crosslens.training.letters import domain_letters
from crosslens.training.loop import train
from crosslens.training.undo import keep


class TwoViewConfig(TunedConfig):
    """Settings of every two-view training."""

    ema: Literal["auto"] | Annotated[float, Field(ge=0, lt=1)] = "auto"
    """Momentum of the momentum encoder, per step: a number, or ``auto``: 0.99, and less in a training of so few
    steps that more than a twentieth of its untrained start would be left in it at the end."""


_LEFT_OF_START = 0.05
"""Share of the untrained momentum encoder that may be left at the end of a training."""

Goal = TypeVar("Goal", bound="Objective")


@dataclass(frozen=True)
class Embedded:
    """One domain's part of a step, over the whole batch of all processes.

    Attributes:
        q: query features ``(B, d)``, unit rows, with gradient.
        keys: key features ``(B, d)``, unit rows.
        index: bank slots ``(B,)``.
        bank: ``(N, d)`` with the keys written. Of a bank that holds a sample, the keys of the batch's other images
            stand behind it for this step, so that every image has a slot.
        held: which images the bank itself holds ``(B,)``; None where it holds all.
    """

    q: Tensor
    keys: Tensor
    index: Tensor
    bank: Tensor
    held: Tensor | None = None

    def clusters(self, assignments: Tensor, centroids: Tensor) -> Tensor:
        """Each image's own cluster ``(B,)``; that of the centroid nearest to its key where the bank has it not.

        Args:
            assignments: cluster of every slot of the bank itself.
            centroids: ``(C, d)``.
        """
        if self.held is None:
            return assignments[self.index]
        nearest = torch.cdist(self.keys, centroids).argmin(1)
        return torch.where(self.held, assignments[self.index.clamp_max(len(assignments) - 1)], nearest)


class Objective:
    """What a two-view training minimises.

    Args:
        training: the training it is for, with networks and banks ready.
    """

    def __init__(self, training: TwoViewTraining[Any]) -> None:
        self.training = training

    def start_epoch(self, epoch: int) -> Mapping[str, float]:
        """Called before every epoch; clusters here. Returns numbers for the log."""
        return {}

    def start_step(self, epoch: int, step: int) -> None:
        """Called before every step."""

    def losses(self, epoch: int, parts: Sequence[Embedded]) -> dict[str, Tensor]:
        """The losses of one step, of one part a domain: ``total`` and what it is made of."""
        raise NotImplementedError

    def state(self) -> dict[str, Any]:
        """What it adds to a checkpoint."""
        return {}

    def load_state(self, state: dict[str, Any]) -> None:
        """Take over what ``state`` gave."""


class TwoViewTraining(Generic[Goal]):
    """Trains one network on two views of every image of each domain; a ``Trainable`` of the training loop.

    Args:
        method: whose settings, name and facts these are.
        job: the fit.
        tuned: what may change.
        objective: makes what is minimised.
        seed: of everything random.

    Attributes:
        network: what is trained.
        slow: its momentum encoder, which becomes the encoder.
        letters: of the domains in the log, ``a`` the first.
        banks: memory banks ``(N, d)`` of each domain; of more than ``bank_rows`` images, of a sample.
        samples: of the images in each bank; None where it holds all.
    """

    def __init__(
        self,
        method: Method[Any],
        job: FitJob,
        tuned: Tuned,
        objective: Callable[[TwoViewTraining[Any]], Goal],
        seed: int,
    ) -> None:
        torch.manual_seed(seed)
        self.method, self.job, self.tuned, self.seed = method, job, tuned, seed
        self.config: TwoViewConfig = method.config
        config = self.config
        self.batches = DomainBatches(
            tuned.views,
            config.batch_size,
            seed,
            config.order,
            job.world,
            least_steps=config.least_steps,
            shuffled_whole=config.bank_rows,
        )
        self.epochs = self.config.epochs
        self.steps = min(self.batches.steps, self.config.most_steps or self.batches.steps)
        self.network = tuned.new_network(seed)
        self.slow = momentum_copy(self.network)
        self.momentum = step_momentum(config.ema, self.epochs * self.steps)
        self.optimizer = tuned.optimizer(self.network)
        self.best = BestEpoch(job, tuned.catalogs)
        self.letters = domain_letters(len(job.domains))
        self.samples = [BankSample.draw(len(views), config.bank_rows, seed, job.world) for views in tuned.views]
        self.banks = [self.centre_features(domain) for domain in range(len(job.domains))]
        self.undo: list[Callable[[], object]] = []
        self.objective = objective(self)

    def run(self, member: Member) -> None:
        """Train to the end, from the checkpoint where there is one."""
        train(
            self,
            self.job.run,
            world=self.job.world,
            name=member.checkpoint,
            label=member.label,
            after_epoch=self.end_epoch,
        )

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        return self.banks[0].device

    def centre_features(self, domain: int) -> Tensor:
        """Momentum-encoder features ``(N, d)`` of the centre view of every image in the bank, in evaluation."""
        sample = self.samples[domain]
        return self.tuned.centre_features(self.slow, domain, None if sample is None else sample.images)

    def start_epoch(self, epoch: int) -> Mapping[str, float]:
        """See ``Objective``."""
        return self.objective.start_epoch(epoch)

    def end_epoch(self, epoch: int) -> Mapping[str, float]:
        """With an oracle, score the epoch; returns numbers for the log."""
        return self.best.observe(partial(self.tuned.centre_features, self.slow), self.encoder)

    def step(self, epoch: int, step: int) -> dict[str, Tensor]:
        """One step's losses; writes the banks and moves the momentum encoder on."""
        self._begin_undo()
        self.objective.start_step(epoch, step)
        batch = self.batches.get(epoch, step)
        world = self.job.world
        q = self.tuned.forward(self.network.train(), batch.queries)
        momentum_update(self.slow, self.network, self.momentum)
        with torch.no_grad():
            generator = generator_for(self.seed + 1, epoch, step)
            keys = self.tuned.forward_keys(self.slow, batch.keys, generator)
        parts = [
            self._write(domain, world.gather(q[domain]), world.gather(keys[domain]), batch.index[domain])
            for domain in range(len(self.banks))
        ]
        return self.objective.losses(epoch, parts)

    def _write(self, domain: int, q: Tensor, keys: Tensor, images: Tensor) -> Embedded:
        """Write a domain's keys to its bank; gives its part of the step."""
        bank, sample = self.banks[domain], self.samples[domain]
        if sample is None:
            index = images.to(keys.device)
            self._write_rows(bank, index, keys)
            return Embedded(q, keys, index, bank)
        slots, held = (found.to(keys.device) for found in sample.slots(images))
        self._write_rows(bank, slots[held], keys[held])
        # An image that is in the batch twice has one slot behind the bank, as it has one within.
        others, places = torch.unique(images.to(keys.device)[~held], return_inverse=True)
        behind = keys.new_empty(len(others), keys.shape[1]).index_copy_(0, places, keys[~held])
        slots[~held] = len(bank) + places
        return Embedded(q, keys, slots, torch.cat([bank, behind]), held)

    def _write_rows(self, bank: Tensor, index: Tensor, rows: Tensor) -> None:
        self.undo.append(partial(bank.index_copy_, 0, index, bank[index]))
        bank.index_copy_(0, index, rows)

    def _begin_undo(self) -> None:
        """Keep what the step changes before the optimiser does, apart from bank rows."""
        moving = [
            p
            for p, fast in zip(self.slow.parameters(), self.network.parameters(), strict=True)
            if fast.requires_grad and p is not fast
        ]
        self.undo = [keep([*moving, *self.network.buffers(), *self.slow.buffers()])]

    def undo_step(self) -> None:
        """Take back what the last ``step`` changed: banks, momentum encoder, running statistics."""
        with torch.no_grad():
            while self.undo:
                self.undo.pop()()

    def encoder(self) -> Encoder:
        """The encoder of the momentum encoder as it is now."""
        return self.tuned.encoder([self.slow], self.method.name, self.method.facts(self.job))

    def state(self) -> dict[str, Any]:
        """Networks, banks, optimiser and the objective's own."""
        return {
            "network": self.tuned.state(self.network),
            "slow": self.tuned.state(self.slow),
            "banks": list(self.banks),
            "images": [len(views) for views in self.tuned.views],
            "processes": self.job.world.size,
            "optimizer": self.optimizer.state_dict(),
            "best_score": self.best.score,
            "extra": self.objective.state(),
        }

    def load_state(self, state: dict[str, Any]) -> None:
        """Take over what ``state`` gave."""
        images = [len(views) for views in self.tuned.views]
        if state.get("images", images) != images:
            raise ValueError(f"the domains had {state['images']} images and have {images} now")
        size = self.job.world.size
        if any(sample is not None for sample in self.samples) and state.get("processes", size) != size:
            raise ValueError(
                f"{state['processes']} processes drew the sample of its banks, and there are {size} now"
            )
        self.tuned.load_state(self.network, state["network"])
        self.tuned.load_state(self.slow, state["slow"])
        load_banks(self.banks, state["banks"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.best.score = state["best_score"]
        self.objective.load_state(state["extra"])


def step_momentum(ema: Literal["auto"] | float, steps: int) -> float:
    """The momentum of a training of so many steps; see ``TwoViewConfig.ema``.

    After n steps a share of m^n of the start is left. With MoCo's habit of a fixed m, a training of 20 steps would
    return an encoder that is untrained to 82 %.
    """
    return min(0.99, _LEFT_OF_START ** (1 / steps)) if ema == "auto" else ema


def load_banks(banks: Sequence[Tensor], saved: Sequence[Tensor]) -> None:
    """Take memory banks over from a checkpoint.

    Raises:
        ValueError: when a domain has another number of images now.
    """
    for bank, rows in zip(banks, saved, strict=True):
        if bank.shape != rows.shape:
            raise ValueError(f"a domain had {len(rows)} images and has {len(bank)} now")
        bank.copy_(rows)


def fit_two_views(
    method: Method[Any], job: FitJob, objective: Callable[[TwoViewTraining[Any]], Objective]
) -> Encoder:
    """Train, resuming where the run stopped, and return the momentum encoder of the last epoch.

    Raises:
        TrainingError: for more or fewer domains than the method takes, or when a loss stops being finite.
        ConfigError: for settings that do not go together.
    """
    kind = HEAD_OR_BACKBONE[job.tune]
    members = members_of(method, job, kind)
    tuned = kind(job, method.config)
    networks = []
    for member in members:
        training = TwoViewTraining(method, job, tuned, objective, member.seed)
        training.run(member)
        networks.append(training.slow)
    return tuned.encoder(networks, method.name, method.facts(job))
