"""A package with plug-ins, as if it were installed."""

from collections.abc import Mapping
from pathlib import Path


def install(site: Path, name: str, points: Mapping[str, str], **modules: str) -> None:
    """What pip leaves of a package in a folder of the path."""
    info = site / f"{name.replace('-', '_')}-0.1.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 0.1\n")
    lines = "\n".join(f"{key} = {value}" for key, value in points.items())
    (info / "entry_points.txt").write_text(f"[crosslens.methods]\n{lines}\n")
    for module, code in modules.items():
        (site / f"{module}.py").write_text(code)
