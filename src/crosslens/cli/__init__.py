"""The command line. Exit status: 0 done, 1 a reported failure, 2 wrong usage, 130 interrupted."""

from __future__ import annotations

import sys

INTERRUPTED = "interrupted; what was finished is kept. Run the same command again (fit: with --resume) to go on"


def main() -> None:
    """Run ``crosslens``; errors that crosslens can explain become one message instead of a traceback."""
    from crosslens.cli.app import app
    from crosslens.errors import ConfigError, CrosslensError

    try:
        app()
    except CrosslensError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2 if isinstance(error, ConfigError) else 1)
    except SystemExit as leaving:
        # typer turns Ctrl-C into this status without a word.
        if leaving.code == 130:
            print(INTERRUPTED, file=sys.stderr)
        raise
    except BrokenPipeError:
        sys.exit(0)
    except OSError as error:
        place = f" ({error.filename})" if error.filename else ""
        print(f"error: {error.strerror or error}{place}", file=sys.stderr)
        sys.exit(1)
