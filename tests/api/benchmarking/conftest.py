"""A suite over tiny pictures and a tiny backbone, whose jobs run in this process."""

import pytest
import yaml

from crosslens.api.benchmarking.plan import plan_suite
from crosslens.api.benchmarking.suite import read_suite


@pytest.fixture
def planned(pictures, tmp_path):
    """A factory: the suite and its plan, of the tiny pictures unless told otherwise."""

    def plan(skip_missing=False, **changes):
        content = {
            "name": "tiny",
            "methods": {"frozen": {}, "centred": {}},
            "backbones": ["tiny"],
            "data": {"shapes": {"path": str(pictures), "unseen": 1}},
            **changes,
        }
        file = tmp_path / "suite.yaml"
        file.write_text(yaml.safe_dump(content, sort_keys=False))
        suite = read_suite(file)
        return suite, plan_suite(suite, file, skip_missing=skip_missing)

    return plan
