"""What CLAIR trains, by ``--tune``: a head behind cached features, or prompts in a frozen CLIP."""

from __future__ import annotations

from collections.abc import Mapping

from crosslens.methods.base import FitJob
from crosslens.methods.clair.config import ClairConfig
from crosslens.methods.clair.prompts import TunedPrompts
from crosslens.methods.tune import Tune
from crosslens.methods.tuned import TunedHead


class _ClairHead(TunedHead):
    """A head that has the width of the space shared with text, or with ``space=free`` its own."""

    def __init__(self, job: FitJob, config: ClairConfig) -> None:
        widths, is_joint = config.head, self.stays_joint(config)
        if is_joint:
            widths = (*widths[:-1], job.backbone.joint_dim or 0)
        super().__init__(job, config, widths, serves_text=is_joint)

    @staticmethod
    def stays_joint(config: ClairConfig) -> bool:
        """Whether it will serve texts, asked before it is made."""
        return config.space == "joint"


NETWORKS: Mapping[Tune, type[_ClairHead] | type[TunedPrompts]] = {"head": _ClairHead, "prompts": TunedPrompts}
