"""``crosslens serve`` and ``crosslens serve keys``."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from crosslens.cli import completion
from crosslens.cli.options import Json, emit_json
from crosslens.support.addresses import place_of
from crosslens.support.errors import ConfigError
from crosslens.support.terminal import echo, print_table


class _ServeGroup(TyperGroup):
    """``serve I`` starts a server; ``serve keys`` looks after keys."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Read everything but ``keys`` as what the server is started with."""
        return super().parse_args(ctx, args if args[:1] == ["keys"] else ["start", *args])


app = typer.Typer(cls=_ServeGroup, help="Serve indexes over HTTP, with a page to search in.")
keys = typer.Typer(help="Keys that let programs and people in. An index folder called 'keys' is ./keys.")
app.add_typer(keys, name="keys")
KeyFileOption = Annotated[Path, typer.Option("--file", "-f", help="The key file; made when missing.")]


@app.command(hidden=True)
def start(
    indexes: Annotated[
        list[Path],
        typer.Argument(
            metavar="INDEX...", help="Index folders, one or several.", autocompletion=completion.INDEXES
        ),
    ],
    host: Annotated[str, typer.Option("--host", help="Where to listen; 0.0.0.0 for everybody.")] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", "-p", min=0, max=65535)] = 8000,
    workers: Annotated[
        int, typer.Option("--workers", min=1, max=64, help="Processes; each holds its own encoder.")
    ] = 1,
    api_key_file: Annotated[
        Path | None,
        typer.Option("--api-key-file", help="Let in only who has one of these keys; see 'serve keys add'."),
    ] = None,
    insecure_no_keys: Annotated[
        bool, typer.Option("--insecure-no-keys", help="Let everybody in who reaches a host that is not loopback.")
    ] = False,
    allow_host: Annotated[
        list[str] | None, typer.Option("--allow-host", help="A further name the server is reached by.")
    ] = None,
    trust_proxy: Annotated[
        str | None,
        typer.Option("--trust-proxy", help="Addresses of reverse proxies whose X-Forwarded-* are believed: A,B."),
    ] = None,
    root_path: Annotated[
        str, typer.Option("--root-path", help="The path below which a proxy shows the server, such as /photos.")
    ] = "",
    max_upload: Annotated[int, typer.Option("--max-upload", min=1, help="MiB of one request.")] = 32,
    max_pixels: Annotated[int, typer.Option("--max-pixels", min=1, help="Million pixels an image.")] = 50,
    rate: Annotated[float, typer.Option("--rate", min=0.1, help="Searches a second and client.")] = 50,
    log_level: Annotated[
        str, typer.Option("--log-level", help="debug, info (a line for every request), warning or error.")
    ] = "info",
    log_json: Annotated[bool, typer.Option("--log-json", help="Log JSON objects, one a line.")] = False,
    no_page: Annotated[bool, typer.Option("--no-page", help="The API alone.")] = False,
) -> None:
    """Serve indexes over HTTP: an API, and a page to search in.

    Example: crosslens serve photos.index

    With others: crosslens serve keys add anna --role write --file keys.json, then
    crosslens serve photos.index --host 0.0.0.0 --api-key-file keys.json
    """
    require_extra()
    from pydantic import ValidationError

    from crosslens.server.run import absolute, serve
    from crosslens.server.settings import ServerSettings

    try:
        settings = ServerSettings(
            indexes=absolute(indexes),
            host=host,
            port=port,
            workers=workers,
            api_key_file=None if api_key_file is None else api_key_file.absolute(),
            insecure_no_keys=insecure_no_keys,
            allow_hosts=tuple(allow_host or ()),
            trust_proxy=trust_proxy,
            root_path=root_path,
            log_level=log_level,
            log_json=log_json,
            max_upload=max_upload << 20,
            max_pixels=max_pixels * 1_000_000,
            rate=rate,
            burst=max(1.0, 4 * rate),
            page=not no_page,
        )
    except ValidationError as error:
        raise ConfigError(f"these settings do not work: {error}") from error

    def announce(url: str) -> None:
        echo(f"crosslens serves {', '.join(str(place_of(folder)) for folder in indexes)} at {url}")
        who = "everybody on this machine" if settings.on_loopback else "everybody who reaches it"
        echo(f"API: {url}/docs   let in: {f'keys of {api_key_file}' if api_key_file else who}   stop: Ctrl-C")

    serve(settings, announce)


@keys.command("add")
def add(
    name: Annotated[str, typer.Argument(help="Who the key is for.")],
    file: KeyFileOption = Path("keys.json"),
    role: Annotated[str, typer.Option("--role", help="read: search. write: also add and delete.")] = "read",
) -> None:
    """Make a key and print it. It is shown this once; the file holds only its hash.

    Example: crosslens serve keys add anna --role write --file keys.json
    """
    from crosslens.server.keys import add_key

    if role not in ("read", "write"):
        raise ConfigError(f"there is no role {role!r}; use read or write")
    echo(add_key(file, name, role))  # type: ignore[arg-type]
    echo(f"this key of {name} may {role}; keep it, it cannot be shown again", err=True)


@keys.command("list")
def show(file: KeyFileOption = Path("keys.json"), json: Json = None) -> None:
    """Show whose keys a file holds."""
    from crosslens.server.keys import read_keys

    held = read_keys(file).keys
    emit_json(json, {"keys": [{"name": one.name, "role": one.role, "created": one.created} for one in held]})
    if json is None:
        print_table(str(file), ("name", "role", "created"), [(one.name, one.role, one.created) for one in held])


@keys.command("remove")
def remove(
    name: Annotated[str, typer.Argument(help="Whose key.")], file: KeyFileOption = Path("keys.json")
) -> None:
    """Remove a key; running servers refuse it within a second."""
    from crosslens.server.keys import remove_key

    remove_key(file, name)
    echo(f"{name} is no longer let in")


def require_extra() -> None:
    """Check that what a server needs is installed.

    Raises:
        ConfigError: naming what is missing.
    """
    missing = [
        name
        for name in ("fastapi", "uvicorn", "python_multipart", "prometheus_client")
        if importlib.util.find_spec(name) is None
    ]
    if missing:
        raise ConfigError(
            f"the server needs more packages ({', '.join(missing)}): pip install 'crosslens[serve]', or"
            " pip install -e '.[serve]' in its source"
        )
