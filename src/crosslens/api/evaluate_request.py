"""What is asked of ``evaluate``, ``compare`` and ``report``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar

from pydantic import BeforeValidator

from crosslens.data.source import Source
from crosslens.evaluation.plan import Measuring
from crosslens.evaluation.scenarios import Scenario, ScenarioDraw
from crosslens.evaluation.universal_split import UniversalSplit

KnownSplit = Annotated[UniversalSplit, BeforeValidator(UniversalSplit.of)]


class EvaluateRequest(Measuring):
    """What is to be measured, on which images and how; None leaves a choice to the run that is measured.

    The encoder stands beside it, so that several can be measured alike.
    """

    earlier: ClassVar[Mapping[str, str]] = {"source": "on", "ks": "k"}

    on: Source | None = None
    """Labelled images; a run's own by default."""

    protocol: str | None = None
    """A name in ``PROTOCOLS``; by default the scenario a run was trained for, else ``pairs``."""

    domains: tuple[str, ...] | None = None
    """The domains to rank between."""

    scenario: Scenario | ScenarioDraw | None = None
    """The classes of query and gallery; by default a run's own, else drawn by the published rule."""

    only: frozenset[str] | None = None
    """Ids to measure on; all by default. Images whose label a supervised run saw are left out in any case."""

    unseen: str | int | tuple[str, ...] | None = None
    """For the protocol ``zero-shot``, as in ``fit``; a run's own by default."""

    generalised: bool = False
    """For ``zero-shot``: the gallery holds seen classes too."""

    universal_split: KnownSplit | None = None
    """For the protocols ``ucdr``, ``uccdr`` and ``udcdr`` on images of no published benchmark: which classes and
    domains are unseen, as a file, a mapping or a ``UniversalSplit``."""

    seed: int = 0
    """Of the draw where ``unseen`` is a number."""

    split: str | tuple[str, ...] | None = None
    """The splits to measure on, of images that are marked with some; all by default, which is noted."""
