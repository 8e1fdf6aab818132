"""The training loop: epochs and steps, logging, checkpoints, exact resume."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NoReturn, Protocol

import torch
from torch import Tensor

from crosslens.support.errors import TrainingError
from crosslens.support.progress import note, progress
from crosslens.training.distributed import World
from crosslens.training.run import Run
from crosslens.training.schedules import cosine


class Trainable(Protocol):
    """What the loop trains. Its steps are functions of its state and (epoch, step)."""

    epochs: int
    steps: int
    optimizer: torch.optim.Optimizer

    def start_epoch(self, epoch: int) -> Mapping[str, float]:
        """Cluster, refresh, set weights; returns numbers for the log."""
        ...

    def step(self, epoch: int, step: int) -> Mapping[str, Tensor]:
        """The losses of one step: ``total``, which is minimised, and its parts for the log."""
        ...

    def undo_step(self) -> None:
        """Take back what the last ``step`` changed, since its losses or gradients are not finite."""
        ...

    def state(self) -> dict[str, Any]:
        """Everything a resumed run needs, as tensors and plain values."""
        ...

    def load_state(self, state: dict[str, Any]) -> None:
        """Take over what ``state`` gave."""
        ...


def train(
    job: Trainable,
    run: Run,
    *,
    world: World | None = None,
    name: str = "last",
    label: str = "training",
    checkpoint_seconds: float = 60.0,
    after_epoch: Callable[[int], Mapping[str, float]] | None = None,
    schedule: Callable[[int, int], float] = cosine,
    done: Callable[[], bool] | None = None,
    rate_key: str = "lr",
) -> None:
    """Train to the end, from the run's last checkpoint when it has one.

    A resumed run computes, bit for bit on a CPU, what an uninterrupted one computes: every step depends on the
    saved state and its own number alone.

    Args:
        job: what to train.
        run: its folder.
        world: the processes that train together.
        name: of the checkpoint.
        label: of the progress bar, and of this training's lines in the log where a run holds several.
        checkpoint_seconds: how long between checkpoints, at least; 0 saves after every step.
        after_epoch: called after every epoch; returns numbers for the log.
        schedule: factor of the learning rate by epoch and number of epochs.
        done: asked after every epoch whether to stop before the last one.
        rate_key: the setting that lowers this training's learning rate, for messages.

    Raises:
        TrainingError: when a loss or gradient stops being finite; the state is kept in ``checkpoints/failed.pt``.
    """
    world = world or World()
    bases = [group["lr"] for group in job.optimizer.param_groups]
    first_epoch, first_step, sums, info = _restore(job, run, name)
    if first_epoch >= job.epochs:
        return
    saved = time.monotonic()

    def save(epoch: int, step: int, sums: dict[str, float]) -> None:
        nonlocal saved
        if world.is_main:
            run.save_checkpoint(
                {"epoch": epoch, "step": step, "sums": sums, "info": info, "job": job.state()}, name
            )
        saved = time.monotonic()

    with progress(job.epochs * job.steps, label) as advance:
        advance(first_epoch * job.steps + first_step)
        for epoch in range(first_epoch, job.epochs):
            started = time.monotonic()
            for group, base in zip(job.optimizer.param_groups, bases, strict=True):
                group["lr"] = base * schedule(epoch, job.epochs)
            resumed = epoch == first_epoch and first_step > 0
            if not resumed:
                info, sums = dict(job.start_epoch(epoch)), {}
            for step in range(first_step if resumed else 0, job.steps):
                losses = job.step(epoch, step)
                fail = partial(_fail, losses, job, run, world, epoch, step, rate_key)
                if not bool(torch.isfinite(losses["total"].detach())):
                    fail("loss")
                job.optimizer.zero_grad(set_to_none=True)
                losses["total"].backward()
                parameters = [p for group in job.optimizer.param_groups for p in group["params"]]
                world.sum_gradients(parameters)
                if not _are_finite([p.grad for p in parameters if p.grad is not None]):
                    fail("gradient")
                _take_step(job.optimizer, parameters, rate_key)
                for term, value in losses.items():
                    sums[term] = sums.get(term, 0.0) + float(value.detach())
                advance(1, f"epoch {epoch + 1}/{job.epochs}  loss {float(losses['total'].detach()):.3f}")
                if time.monotonic() - saved >= checkpoint_seconds and step + 1 < job.steps:
                    save(epoch, step + 1, sums)
            means = {term: value / job.steps for term, value in sums.items()}
            extra = dict(after_epoch(epoch)) if after_epoch else {}
            if world.is_main:
                rate = job.optimizer.param_groups[0]["lr"]
                seconds = round(time.monotonic() - started, 3)
                run.log(
                    {
                        "name": name,
                        "epoch": epoch,
                        "lr": rate,
                        "seconds": seconds,
                        "losses": means,
                        **info,
                        **extra,
                    }
                )
            stop = done is not None and done()
            if stop or time.monotonic() - saved >= checkpoint_seconds or epoch + 1 == job.epochs:
                save(job.epochs if stop else epoch + 1, 0, {})
            if stop:
                break
    world.barrier()


def _restore(job: Trainable, run: Run, name: str) -> tuple[int, int, dict[str, float], dict[str, Any]]:
    """Epoch, step, sums of losses and numbers of the epoch's start to go on with."""
    checkpoint = run.load_checkpoint(name)
    if checkpoint is None:
        return 0, 0, {}, {}
    try:
        job.load_state(checkpoint["job"])
        place = int(checkpoint["epoch"]), int(checkpoint["step"]), dict(checkpoint["sums"])
        info = dict(checkpoint.get("info", {}))
    except (KeyError, ValueError, RuntimeError) as error:
        raise TrainingError(f"the checkpoint in {run.folder} does not fit this run: {error}") from error
    if place[0] < job.epochs:
        note(f"resuming at epoch {place[0]}, step {place[1]}")
    return *place, info


def _are_finite(values: Sequence[Tensor]) -> bool:
    values = [value.detach() for value in values if value.numel()]
    # The largest size of each, in one look; a norm of squares could overflow.
    return not values or bool(torch.isfinite(torch.stack(torch._foreach_norm(values, float("inf")))).all())


def _fail(
    losses: Mapping[str, Tensor],
    job: Trainable,
    run: Run,
    world: World,
    epoch: int,
    step: int,
    rate_key: str,
    what: str,
) -> NoReturn:
    values = {term: float(value.detach()) for term, value in losses.items()}
    job.undo_step()
    if world.is_main:
        run.save_checkpoint({"epoch": epoch, "step": step, "sums": {}, "job": job.state()}, "failed")
        run.log(
            {"failed": True, "at_epoch": epoch, "at_step": step, "losses": {k: str(v) for k, v in values.items()}}
        )
    shown = ", ".join(f"{term} {value:.3g}" for term, value in values.items())
    raise TrainingError(
        f"the {what} is not finite at epoch {epoch}, step {step} ({shown}). The state before this step is in"
        f" {run.folder / 'checkpoints' / 'failed.pt'}; try a lower learning rate (--set {rate_key}=...)"
    )


def _take_step(optimizer: torch.optim.Optimizer, parameters: Sequence[Tensor], rate_key: str) -> None:
    cause = None
    try:
        optimizer.step()
    except RuntimeError as error:
        # The only word that torch has for a step longer than a float.
        if "overflow" not in str(error):
            raise
        cause = error
    # Else the last step of all could save weights that are none, and a later one call them the state before it.
    if cause is not None or not _are_finite(parameters):
        raise TrainingError(
            f"the learning rate {optimizer.param_groups[0]['lr']:g} gives steps beyond what a float holds;"
            f" lower it (--set {rate_key}=...)"
        ) from cause
