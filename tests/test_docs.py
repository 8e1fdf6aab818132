"""Every crosslens command of the README and the docs exists, options included; so does every name; links lead
somewhere."""

import ast
import re
import shlex
from importlib import import_module
from pathlib import Path

import pytest
from typer.main import get_command

from crosslens.cli.app import app

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
COMMANDS = sorted(
    {
        line.split("  #")[0].split("    #")[0].strip()
        for page in PAGES
        for block in re.findall(r"```(?:sh|bash)\n(.*?)```", page.read_text(), re.S)
        for line in block.splitlines()
        if line.startswith("crosslens ")
    }
)


@pytest.mark.parametrize("line", COMMANDS)
def test_commands_parse(line: str) -> None:
    command, words, context = get_command(app), shlex.split(line)[1:], None
    # Parsing alone: unknown commands and options, missing arguments and values of the wrong type raise.
    while hasattr(command, "resolve_command") and (words or not command.invoke_without_command):
        context = command.make_context(command.name, words, parent=context)
        _, command, words = command.resolve_command(context, [*context._protected_args, *context.args])
    command.make_context(command.name, words, parent=context)


PROGRAMS = [
    pytest.param(block, id=f"{page.stem}-{number}")
    for page in PAGES
    for number, block in enumerate(re.findall(r"^```python\n(.*?)^```", page.read_text(), re.S | re.M))
]


@pytest.mark.parametrize("block", PROGRAMS)
def test_programs_name_what_there_is(block: str) -> None:
    for node in ast.walk(ast.parse(block)):
        if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "crosslens":
            module = import_module(node.module or "")
            missing = [alias.name for alias in node.names if not hasattr(module, alias.name)]
            assert not missing or all(import_module(f"{node.module}.{name}") for name in missing)
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "crosslens":
            assert hasattr(import_module("crosslens"), node.attr)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+?)(?:#[^)]*)?\)", page.read_text()):
        if not target.startswith("http"):
            assert (page.parent / target).exists(), target


def test_there_are_commands_to_check() -> None:
    assert len(COMMANDS) > 10
