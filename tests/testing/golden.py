"""Values that were worked out elsewhere, once: published code, a specification, a version before."""

import json
from pathlib import Path

FOLDER = Path(__file__).parents[1] / "golden"


def read_golden(name):
    """What ``golden/<name>.json`` holds."""
    return json.loads((FOLDER / f"{name}.json").read_text())
