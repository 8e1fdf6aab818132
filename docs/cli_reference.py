"""Writes cli.md, the page of all commands, from their own help: ``python docs/cli_reference.py``."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any

PAGE = Path(__file__).with_name("cli.md")
_HEAD = """# Commands

Made from the commands' own help (`make docs`), which `crosslens COMMAND --help` shows too.
"""


def page() -> str:
    """The whole page as Markdown."""
    from typer.main import get_command

    from crosslens.cli.app import app

    return "\n".join([_HEAD, *_sections(get_command(app), "crosslens")]).rstrip() + "\n"


def _sections(command: Any, called: str) -> Iterator[str]:
    for name, one in sorted(command.commands.items()):
        if one.hidden:
            continue
        own = f"{called} {name}"
        inner = getattr(one, "commands", {})
        # A hidden command is what its group does when it is called without another word.
        meant = [each for each in inner.values() if each.hidden]
        yield _section(meant[0] if meant else one, own)
        if inner:
            yield from _sections(one, own)


def _section(command: Any, called: str) -> str:
    shown = [one for one in command.params if not getattr(one, "hidden", False) and one.name != "help"]
    arguments = [one for one in shown if one.param_type_name == "argument"]
    options = [one for one in shown if one.param_type_name == "option"]
    usage = " ".join(
        [called, *(one.metavar or one.name.upper() for one in arguments), *(["[OPTIONS]"] * bool(options))]
    )
    help_text = inspect.cleandoc(command.help or "").replace("\b\n", "").replace("<", "&lt;")
    if getattr(command, "commands", None):
        return f"## `{called}`\n\n{help_text}\n"
    rows = [(f"`{one.metavar or one.name.upper()}`", one, "") for one in arguments]
    for one in options:
        names = ", ".join(f"`{name}`" for name in [*one.opts, *one.secondary_opts])
        rows.append((names, one, _default(one)))
    table = [f"| {names} | {_cell(one.help)} | {default} |" for names, one, default in rows]
    head = ["| argument or option | meaning | default |", "|---|---|---|"] if table else []
    return "\n".join([f"## `{called}`", "", help_text, "", f"```text\n{usage}\n```", "", *head, *table, ""])


def _default(option: Any) -> str:
    value = option.default
    if option.required:
        return "needed"
    if value is None or callable(value) or isinstance(value, bool) or value in ("", (), []):
        return ""
    return f"`{getattr(value, 'value', value)}`"


def _cell(text: str | None) -> str:
    return " ".join((text or "").split()).replace("|", "\\|").replace("<", "&lt;")


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
