"""Whether a command would be understood, without doing it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from typer.main import get_command

from crosslens.cli.app import app


def parsed(words: Sequence[str]) -> dict[str, Any]:
    """The options of a call of crosslens; unknown commands and options, and values of a wrong type, raise."""
    command, context = get_command(app), None
    while hasattr(command, "resolve_command"):
        context = command.make_context(command.name, list(words), parent=context)
        _, command, words = command.resolve_command(context, [*context._protected_args, *context.args])
    return command.make_context(command.name, list(words), parent=context).params
