"""The command line, called in this process."""

import sys

import pytest

from crosslens.cli import main


@pytest.fixture
def cli(tiny_world, monkeypatch, capsys):
    """Run a command; gives exit status, standard output and error."""

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["crosslens", *map(str, arguments)])
        status = 0
        try:
            main()
        except SystemExit as leaving:
            status = leaving.code or 0
        printed = capsys.readouterr()
        return status, printed.out, printed.err

    return call
