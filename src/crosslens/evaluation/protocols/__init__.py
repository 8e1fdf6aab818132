"""Protocols: who asks, who answers, and how it is measured."""

from __future__ import annotations

from collections.abc import Callable

from crosslens.encoder import Encoder
from crosslens.evaluation.measured import Evaluation
from crosslens.evaluation.plan import Plan
from crosslens.evaluation.protocols.pairs import evaluate_pairs
from crosslens.evaluation.protocols.scenario import evaluate_scenario
from crosslens.evaluation.protocols.universal import UNIVERSAL
from crosslens.evaluation.protocols.zero_shot import evaluate_zero_shot
from crosslens.evaluation.scenarios import KINDS as SCENARIOS

PROTOCOLS: dict[str, Callable[[Encoder, Plan], Evaluation]] = {
    "pairs": evaluate_pairs,
    "zero-shot": evaluate_zero_shot,
    **UNIVERSAL,
    **dict.fromkeys(SCENARIOS, evaluate_scenario),
}
