"""Every block of code of the documentation runs, in the order of its page, with what its reader has.

``HAS`` says what that is, ``EXCEPTIONS`` which blocks do not run and why; ``testing.stand_ins`` stands in for
programs that no test can call. Words for whole machines (``# `` in a console) are never run.
"""

import json
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

import crosslens
from crosslens.api import demo, fit_request
from crosslens.backbones import BACKBONES
from crosslens.datasets import emoji
from crosslens.methods.clair.config import ClairConfig
from crosslens.methods.protoot import ProtoOTConfig
from crosslens.methods.tki.method import TKIConfig
from crosslens.methods.ucdir import UCDIRConfig
from crosslens.methods.uem.config import UEMConfig
from testing.doc_pages import PAGES, blocks_of, name_of
from testing.parsing import parsed
from testing.reader_files import make
from testing.stage import Stage
from testing.staying import ask_assistant

RUN = ("sh", "bash", "console", "python")

HAS = {
    "README.md": "~/Pictures PICTURES my-sketch.png SHOP CATALOGUE SUITE.yaml facebook/dinov2-small"
    " moco_v2_800ep_pretrain.pth.tar part-of-OFFICE_HOME s3://bucket/pictures",
    "index.md": "~/Pictures PICTURES pictures runs/first photos.index",
    "tutorial.md": "~/Pictures pictures my-sketch.png a.png b.png",
    "how-to/backbones.md": "pictures openai/clip-vit-base-patch32",
    "how-to/benchmark.md": "pacs",
    "how-to/choose.md": "pictures names.txt",
    "how-to/data.md": "OFFICE_HOME SKETCHY PACS pictures runs/first",
    "how-to/deploy.md": "pictures deploy",
    "how-to/embed.md": "pictures whole.csv",
    "how-to/export.md": "pictures runs/first sketch.png",
    "how-to/goal.md": "pictures runs/first photos.index icons drawings idea.png dog.png",
    "how-to/gpu.md": "part-of-OFFICE_HOME moco_v2_800ep_pretrain.pth.tar",
    "how-to/match.md": "icons-old icons-new shop catalogue pictures",
    "how-to/mcp.md": "pictures photos.index /home/anna/.venv/bin/crosslens /home/anna/photos.index"
    " /home/anna/sketches",
    "how-to/no-match.md": "pictures photos.index sketch.png sketches photos",
    "how-to/open.md": "~/Pictures pictures photos.index sketch.png",
    "how-to/page.md": "pictures photos.index photos-clip.index",
    "how-to/places.md": "pictures sketch.png s3://bucket/pictures s3://bucket/features s3://bucket/photos.index"
    " s3://bucket/runs/first",
    "how-to/plug-in.md": "pictures",
    "how-to/resume.md": "pictures runs/first embed-3f2a91",
    "how-to/scale.md": "pictures pictures.parquet /data/pictures",
    "how-to/search-index.md": "pictures runs/first runs/second sketch.png sketches more-pictures prices.csv"
    " shop.csv vectors.parquet /media/second-camera /media/new-disk/pictures https://milvus.example.org:19530",
    "how-to/search.md": "pictures photos.index sketch.png dog.png sketches",
    "how-to/serve.md": "pictures photos.index other-model.index sketch.png new.jpg shoe.jpg hat.jpg",
    "how-to/universal-protocols.md": "DomainNet names.txt runs/tki pictures-of-four-looks",
    "how-to/upgrading.md": "pictures photos.index milvus.index",
    "methods/clair.md": "pictures names.txt PATH",
    "methods/protoot.md": "pictures PACS PHOTOSKETCH",
    "methods/tki.md": "pictures names.txt DomainNet drawing.png clip-vit-base-patch32",
    "methods/ucdir.md": "pictures-of-four-looks",
    "methods/uem.md": "pictures",
}
"""What a reader of each page has before the first block, as ``testing.reader_files`` makes it."""


_KINDS = ("animal-mammal", "food-fruit", "musical-instrument", "sport", "transport-ground")
"""Kinds of built-in pictures; five things of each are enough."""


def _make_smaller(patch):
    """A few built-in pictures, and a few epochs or steps where methods and recipes take many."""
    kinds, few = Counter(), {}
    for code, concept in emoji._named().items():
        kinds[concept.subgroup] += concept.subgroup in _KINDS
        if 0 < kinds[concept.subgroup] <= 5 or code in demo._SEARCHES:
            few[code] = concept
    patch.setattr(emoji, "_named", lambda: few)
    recipe = fit_request.read_recipe
    short = {"epochs": 2, "cluster_epoch": 0, "align_epoch": 1, "clusters": [4]}
    patch.setattr(
        fit_request, "read_recipe", lambda name: recipe(name) | {"settings": recipe(name)["settings"] | short}
    )
    patch.setattr(demo, "_LEAST_MEMBERS", 5)
    fewer = {
        ClairConfig: {"epochs": 4, "members": 1},
        ProtoOTConfig: {"epochs": 4, "cross_epoch": 2, "members": 1},
        TKIConfig: {"words": 16, "steps": 15, "epochs": 4},
        UCDIRConfig: {"epochs": 4, "cluster_epoch": 1, "align_epoch": 2, "least_steps": 1, "members": 1},
        UEMConfig: {"epochs": 4, "align_epochs": 2, "members": 1},
    }
    for config, defaults in fewer.items():
        for name, value in defaults.items():
            patch.setattr(config.model_fields[name], "default", value)
        # What is made anew comes back with the page's end.
        for made in ("__pydantic_core_schema__", "__pydantic_validator__", "__pydantic_serializer__"):
            patch.setattr(config, made, getattr(config, made))
        config.model_rebuild(force=True)


@pytest.fixture(scope="module")
def _cluster():
    """The address of a Ray cluster of one node."""
    pytest.importorskip("ray")
    from ray.cluster_utils import Cluster

    with pytest.MonkeyPatch.context() as patch:
        # Ray gives way to all others, and on a busy machine would never come to an end.
        patch.setenv("RAY_worker_niceness", "0")
        cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
        yield cluster.address
        cluster.shutdown()


@pytest.fixture(scope="module")
def empty_stage(tmp_path_factory):
    stage = Stage(tmp_path_factory.mktemp("docs"))
    yield stage
    stage.close()


def _written(name):
    """A block that is a file."""

    def check(stage, block):
        (stage.desk / name).write_text(block.text, encoding="utf-8")

    return check


def _suite(stage, block):
    """A suite is planned whole; what is done of it is the least that has a table."""
    file = stage.desk / "suite.yaml"
    if not file.exists():
        stage.patch.setenv("DATA", str(stage.desk))
        file.write_text(block.text)
        planned = stage.shell("crosslens benchmark suite.yaml --out results --dry-run")
        assert "one head, emoji, zero-shot" in planned, planned
        few = {"methods": ["frozen", "centred"], "protocols": ["pairs"], "seeds": [0]}
        whole = yaml.safe_load(block.text)
        file.write_text(yaml.safe_dump(whole | few | {"data": {"pacs": whole["data"]["pacs"]}}))
        (stage.desk / "whole.yaml").write_text(block.text)
    else:
        # The blocks of a suite.
        whole = (stage.desk / "whole.yaml").read_text()
        (stage.desk / "blocks.yaml").write_text(whole + block.text)
        stage.shell("crosslens benchmark blocks.yaml --out blocks --dry-run")


def _assistants(stage, block):
    """What starts the servers of an assistant starts them."""
    said = json.loads(stage.here(block.text))
    for server in (said.get("mcpServers") or said["servers"]).values():
        ask_assistant([server["command"], *server["args"]])


def _log(stage, block):
    """Lines of a job's log have what those of a real one have."""
    real = {}
    for line in (stage.desk / "features" / "many" / "job.jsonl").read_text().splitlines():
        real.setdefault(json.loads(line)["event"], set()).update(json.loads(line))
    for line in block.text.splitlines():
        assert {*json.loads(line)} <= real[json.loads(line)["event"]]


def _proxy(stage, block):
    """A proxy hands on to the usual port, and lets through as much as the server does."""
    usual = parsed(["serve", "x"])
    assert f"127.0.0.1:{usual['port']};" in block.text
    assert f"client_max_body_size {usual['max_upload']}m;" in block.text


def _kinds(stage, block):
    """Every kind of backbone is told, and no other."""
    # Other tests may have left kinds of their own.
    kinds = {kind for kind, entry in BACKBONES.items() if entry.load.__module__.startswith("crosslens.")}
    assert {line.partition(":")[0].split()[0] for line in block.text.splitlines()} == kinds


def _rows(folder, encoder="lite"):
    """What an encoder makes of the pictures of a folder."""
    return crosslens.load_encoder(encoder).encode_images(sorted(Path(folder).iterdir()))


GIVEN = {
    "how-to/no-match.md": {
        "gallery_vectors": lambda: _rows("photos"),
        "query_vectors": lambda: _rows("sketches"),
    },
    "how-to/search.md": {"pixels": lambda: np.asarray(Image.open("sketch.png"))},
    "how-to/search-index.md": {"vectors": lambda: _rows("sketches", "runs/first")},
}
"""Names that a block of Python takes from its reader's program."""

CHECKS = {
    ("how-to/backbones.md", ""): _kinds,
    ("how-to/benchmark.md", "yaml"): _suite,
    ("how-to/benchmark.md", "markdown"): _written("page.md"),
    ("how-to/mcp.md", "json"): _assistants,
    ("how-to/plug-in.md", "toml"): _written("pyproject.toml"),
    ("how-to/plug-in.md", "python"): _written("crosslens_median.py"),
    ("how-to/resume.md", "json"): _log,
    ("how-to/serve.md", "nginx"): _proxy,
    ("how-to/universal-protocols.md", "yaml"): _written("split.yaml"),
}
"""Blocks that are no program: what is done with them."""

NEEDS = {"--runner ray": "ray", "s3://": "obstore", "milvus:": "milvus_lite", "crosslens mcp": "mcp"}
"""Packages without which a page is skipped, by words of its blocks."""

SCRIPTS = {"how-to/scale.md": "embed.sh"}
"""What a page calls the script that it shows."""

EXCEPTIONS = {
    ("architecture.md", ""): "a drawing",
    ("cli.md", "text"): "what --help prints; tests/test_site.py holds it current",
    ("how-to/environment.md", "text"): "would write to the start-up files of a shell",
    ("how-to/formats.md", ""): "what a command prints",
    ("tutorial.md", ""): "a tree of folders",
}
"""Blocks that nothing is done with, and why."""


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_block_runs(empty_stage, page, request):
    blocks = blocks_of(page)
    said = "".join(block.text for block in blocks)
    for words, package in NEEDS.items():
        if words in said:
            pytest.importorskip(package)
    if "curl " in said and shutil.which("curl") is None:
        pytest.skip("there is no curl")
    things = HAS.get(name_of(page), "").split()
    names = {"__name__": "page"}
    with empty_stage.cleared() as stage:
        _make_smaller(stage.patch)
        if "s3://" in said:
            stage.storage = request.getfixturevalue("storage")
        if "--runner ray" in said:
            stage.means["head:6379"] = request.getfixturevalue("_cluster")
            stage.patch.setenv("RAY_ADDRESS", stage.means["head:6379"])
        for thing in things:
            if not thing.startswith("embed-"):
                make(stage, thing)
        for block in blocks:
            for thing in things:
                # A job that runs would not wait for its block.
                if thing.startswith("embed-") and thing in block.text:
                    make(stage, thing)
            if check := CHECKS.get((block.page, block.language)):
                check(stage, block)
            elif block.text.startswith("#!"):
                (stage.desk / SCRIPTS[block.page]).write_text(stage.here(block.text), encoding="utf-8")
            elif (block.page, block.language) not in EXCEPTIONS:
                assert block.language in RUN, f"{block}: nothing is known of {block.language!r}"
                stage.run(block, names, GIVEN.get(block.page, {}))


def test_what_is_said_of_blocks_is_said_of_blocks_that_are_there():
    there = {(block.page, block.language) for page in PAGES for block in blocks_of(page)}
    assert {*CHECKS, *EXCEPTIONS} <= there
    assert {*HAS, *GIVEN, *SCRIPTS} <= {page for page, _ in there}


def test_a_block_of_another_language_is_seen(tmp_path, monkeypatch):
    monkeypatch.setattr("testing.doc_pages.REPOSITORY", tmp_path)
    page = tmp_path / "page.md"
    page.write_text("- said\n\n  ```ruby title='x'\n  puts 1\n  ```\n\n~~~\ncode\n~~~\n```sh\nfalse\n```\n")
    found = [(block.line, block.language, block.text) for block in blocks_of(page)]
    assert found == [(4, "ruby", "  puts 1\n"), (8, "", "code\n"), (11, "sh", "false\n")]
    assert ("page.md", "ruby") not in {*CHECKS, *EXCEPTIONS}
    assert "ruby" not in RUN


def test_a_line_that_fails_ends_its_block(empty_stage):
    with empty_stage.cleared() as stage:
        with pytest.raises(AssertionError, match=r"gone\.index holds no index"):
            stage.shell("crosslens index info gone.index\ntouch after")
        assert not (stage.desk / "after").exists()
        assert stage.shell("crosslens --version | tr -d 0-9").startswith("..")
