"""What is wrong about a call is said before anything that computes is imported."""

import subprocess
import sys

import pytest

from crosslens.evaluation.protocol_names import PROTOCOL_NAMES
from crosslens.evaluation.protocols import PROTOCOLS

HEAVY = ("torch", "transformers", "onnxruntime", "scipy", "sklearn", "faiss")
RUN = f"""
import sys
from crosslens.cli import main
try:
    main()
finally:
    print("imported", [name for name in {HEAVY} if name in sys.modules], file=sys.stderr)
"""


@pytest.mark.parametrize(
    ("command", "told"),
    [
        ("fit UNKNOWN . --out run", "there is no method 'UNKNOWN'"),
        ("fit autoo . --out run", "did you mean 'auto'"),
        ("fit tki --classes gone.txt --out run", "--classes gone.txt is no file; it is a text file"),
        ("fit ucdir gone --out run", "gone does not exist"),
        ("fit ucdir . --backbone ./gone --out run", "there is no backbone './gone'"),
        ("fit ucdir . --set typo=1 --out run", "ucdir has no setting 'typo'; it has epochs"),
        ("fit ucdir . --set epcohs=3 --out run", "did you mean 'epochs'"),
        ("fit tki --set typo=1 --out run", "tki has no setting 'typo'"),
        ("fit ucdir . --set epochs --out run", "--set takes key=value, not 'epochs'"),
        ("fit ucdir .", "name the run folder to make"),
        ("fit ucdir . --recipe ucdir-offic --out run", "there is no recipe 'ucdir-offic'"),
        ("fit ucdir . --tune hed --out run", "did you mean 'head'"),
        ("fit ucdir . --backbone lit --out run", "there is no backbone 'lit'; did you mean 'lite'"),
        (
            "fit ucdir . --backbone vit:./gone --out run",
            "./gone is not a folder, and no file either; vit needs one",
        ),
        ("fit ucdr --settings", "there is no method 'ucdr'"),
        ("embed . --backbone lit --out f", "there is no backbone 'lit'"),
        ("embed . --runner rya --out f", "there is no runner 'rya'"),
        ("embed . --decode quick --out f", "there is no way to decode called 'quick'"),
        ("embed .", "give ROOT and --out FOLDER"),
        ("evaluate lit .", "lit is no run, no encoder folder and no backbone"),
        ("evaluate runs/gone .", "runs/gone is no run, no encoder folder and no backbone: there is no such place"),
        ("evaluate lite . --convention foo", "there is no convention 'foo'"),
        ("evaluate lite . --ties foo", "foo"),
        ("evaluate lite . --goal foo", "goal = 'foo'"),
        ("evaluate lite . --k a,b", "--k takes whole numbers"),
        ("compare lite centred --on .", "it is a method; make a run with 'crosslens fit centred"),
        ("index build . --encoder lit --out a.index", "lit is no run, no encoder folder and no backbone"),
        ("match . --encoder lit", "lit is no run, no encoder folder and no backbone"),
        ("benchmark gone.yaml --out b", "there is no suite gone.yaml"),
        ("benchmark wrong.yaml --out b", "(1) methods.ucdir: ucdir has no setting 'typo'; it has epochs"),
        ("evaluate lite . --protocol pears", "there is no protocol 'pears'"),
        ("evaluate lite gone", "gone does not exist"),
        ("compare lite lite --on gone", "gone does not exist"),
        ("index build . --store typo --out a.index", "there is no store 'typo'"),
        ("index build gone --out a.index", "gone does not exist"),
        ("report gone", "gone is no run folder"),
        ("export lite --format typo --out e", "there is no format 'typo'"),
        ("export ./gone --out e", "./gone is no run, no encoder folder and no backbone"),
        ("embed gone --out f", "gone does not exist"),
        ("match gone", "gone does not exist"),
        ("open gone", "gone does not exist"),
    ],
)
def test_said_before_heavy_imports(command, told, tmp_path):
    (tmp_path / "wrong.yaml").write_text(
        "{name: a, methods: {ucdir: {settings: {typo: 1}}}, data: {b: {path: .}}, backbones: [lit]}"
    )
    code = [sys.executable, "-c", RUN, *command.split()]
    finished = subprocess.run(code, cwd=tmp_path, capture_output=True, text=True)
    assert finished.returncode in (1, 2)
    assert told in finished.stderr
    assert "imported []" in finished.stderr


def test_the_names_of_protocols_are_those_that_measure():
    assert set(PROTOCOL_NAMES) == set(PROTOCOLS)
