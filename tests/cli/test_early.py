"""What is wrong about a call is said before anything that computes is imported."""

import subprocess
import sys

import pytest

from crosslens.evaluation.protocol_names import PROTOCOL_NAMES
from crosslens.evaluation.protocols import PROTOCOLS

HEAVY = ("torch", "transformers", "onnxruntime", "scipy", "sklearn")
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
        ("fit ucdir gone --out run", "gone does not exist"),
        ("fit ucdir . --backbone ./gone --out run", "./gone is no run, no encoder folder and no backbone"),
        ("evaluate lite . --protocol pears", "there is no protocol 'pears'"),
        ("evaluate lite gone", "gone does not exist"),
        ("compare lite centred --on gone", "gone does not exist"),
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
    code = [sys.executable, "-c", RUN, *command.split()]
    finished = subprocess.run(code, cwd=tmp_path, capture_output=True, text=True)
    assert finished.returncode in (1, 2)
    assert told in finished.stderr
    assert "imported []" in finished.stderr


def test_the_names_of_protocols_are_those_that_measure():
    assert set(PROTOCOL_NAMES) == set(PROTOCOLS)
