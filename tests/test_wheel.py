"""What is installed without make: the wheel holds everything, and works away from its source."""

import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import crosslens

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """Built as people build it: from the source archive."""
    pytest.importorskip("build")
    out = tmp_path_factory.mktemp("dist")
    built = subprocess.run(
        [sys.executable, "-m", "build", "--outdir", str(out), str(ROOT)], capture_output=True, text=True
    )
    if "Could not find a version" in built.stdout + built.stderr:
        pytest.skip("the build backend cannot be fetched")
    assert built.returncode == 0, built.stdout + built.stderr
    assert len(list(out.glob("*.tar.gz"))) == 1
    (made,) = out.glob("*.whl")
    return made


def test_it_holds_every_file_of_the_package(wheel):
    package = ROOT / "src" / "crosslens"
    expected = {
        f"crosslens/{file.relative_to(package).as_posix()}"
        for file in package.rglob("*")
        if file.is_file() and "__pycache__" not in file.parts
    }
    held = set(zipfile.ZipFile(wheel).namelist())
    assert not expected - held
    assert "crosslens/backbones/drawings/ATTRIBUTION.md" in held
    assert wheel.stat().st_size < 15e6


def test_its_readme_needs_no_files_beside_it(wheel):
    """An index of packages shows the readme alone: no picture and no link that leads nowhere there."""
    with zipfile.ZipFile(wheel) as held:
        (name,) = (name for name in held.namelist() if name.endswith(".dist-info/METADATA"))
        about = held.read(name).decode()
    assert "crosslens open ~/Pictures" in about
    assert "![" not in about
    assert not re.findall(r"\]\((?!https://)[^)]*\)", about)
    assert "https://openmoji.org" not in about.partition("## Start")[0], "a caption without its picture"
    assert "Description-Content-Type: text/markdown" in about


def test_it_works_away_from_its_source(wheel, tmp_path):
    subprocess.run([sys.executable, "-m", "venv", str(tmp_path / "env")], check=True)
    python = tmp_path / "env" / "bin" / "python"
    install = [str(python), "-m", "pip", "install", "-q", "--no-deps", "--no-index", str(wheel)]
    subprocess.run(install, check=True)
    # The packages of this environment stand behind the wheel's own.
    import numpy

    around = {"PYTHONPATH": str(Path(numpy.__file__).parents[1]), "CROSSLENS_CACHE": str(tmp_path / "cache")}
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}

    def run(*command):
        done = subprocess.run(command, cwd=tmp_path, env=kept | around, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    # What PYTHONPATH names comes before the venv: the wheel is put before that.
    place = run(str(python), "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").strip()
    around["PYTHONPATH"] = f"{place}{os.pathsep}{around['PYTHONPATH']}"
    assert run(str(python), "-c", "import crosslens; print(crosslens.__file__)").startswith(place)
    program = str(tmp_path / "env" / "bin" / "crosslens")
    assert run(program, "--version").strip().endswith(crosslens.__version__)
    run(program, "--help")
    # The weights are found where the wheel put them.
    run(
        str(python),
        "-c",
        "import crosslens, numpy; from PIL import Image;"
        " vectors = crosslens.load_encoder('lite').encode_images(Image.new('RGB', (300, 200), 'red'));"
        " assert abs(numpy.linalg.norm(vectors) - 1) < 1e-4",
    )
    # And so are the pictures: the first step of the demo.
    drawn = run(
        str(python),
        "-c",
        "from crosslens.api.demo import demo_catalog; catalog = demo_catalog();"
        " print(len(catalog), all(path.is_file() for path in catalog.paths))",
    )
    assert drawn.split() == ["1452", "True"]
