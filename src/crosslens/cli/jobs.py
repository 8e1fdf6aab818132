"""``crosslens jobs``."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

import typer

from crosslens.cli.options import Json, Quiet, emit_json, is_free, is_shown
from crosslens.support.addresses import Place, place_of
from crosslens.support.jobs import cancel_job, command_again, find_job, list_jobs, recorded
from crosslens.support.progress import duration, rate_of
from crosslens.support.terminal import echo, flush, print_table

app = typer.Typer(help="See, stop and resume what runs for long.", invoke_without_command=True)

Name = Annotated[
    str, typer.Argument(metavar="JOB", help="The id that 'crosslens jobs' shows, its beginning, or a target.")
]


@contextmanager
def as_job(verb: str, target: Place) -> Iterator[None]:
    """List what is done inside ``with`` under ``crosslens jobs``."""
    with recorded(verb, place_of(target), sys.argv[1:]):
        yield


@app.callback()
def show(context: typer.Context, json: Json = None) -> None:
    """List embed, fit and index build: what runs, how far it is, and what ended in the last 30 days.

    A job that is 'lost' was killed; one 'elsewhere' runs on another machine that has the same home. Each keeps a
    log in what it makes, job.jsonl, one JSON object a line; what is made in object storage has it when it ends.

    Example: crosslens jobs        crosslens jobs cancel embed-3f2a91        crosslens jobs resume embed-3f2a91
    """
    if context.invoked_subcommand is not None:
        return
    jobs = list_jobs()
    emit_json(
        json,
        {"jobs": [job.model_dump() | {"seen": job.seen, "seconds_left": job.seconds_left} for job in jobs]},
    )
    if not is_free(json):
        return
    if not jobs:
        echo("nothing runs, and nothing ran lately")
        return
    rows = []
    for job in jobs:
        left = job.seconds_left if job.seen in ("running", "elsewhere") else None
        rows.append(
            (
                job.id,
                job.seen,
                f"{job.stage} {job.done} of {job.total}" if job.total else job.stage,
                rate_of(job.rate) if job.rate else "",
                "" if left is None else duration(left),
                str(sum(job.skipped.values()) or ""),
                f"{duration(time.time() - job.updated)} ago",
                job.target,
            )
        )
    print_table("jobs", ("job", "state", "stage", "rate", "left", "skipped", "last heard", "makes"), rows)
    for job in jobs:
        if job.reason:
            echo(f"{job.id}: {job.reason}")
        if job.log and not job.log.startswith(job.target):
            echo(f"{job.id}: its log is {job.log}")


@app.command()
def cancel(name: Name, quiet: Quiet = False) -> None:
    """Stop a job as Ctrl-C does: what is finished is written, and 'resume' goes on with the rest.

    Example: crosslens jobs cancel embed-3f2a91
    """
    job = find_job(name)
    ended = cancel_job(job)
    if is_shown(quiet, None):
        after = f"go on with 'crosslens jobs resume {job.id}'" if ended else "it is told to, and still writes"
        echo(f"{job.id} {'has stopped' if ended else 'stops'}; {after}")


@app.command()
def resume(name: Name) -> None:
    """Go on with a job that was cancelled, failed or killed: the same command again, in the same folder.

    Example: crosslens jobs resume embed-3f2a91
    """
    job = find_job(name)
    command = command_again(job)
    os.chdir(job.folder)
    flush()
    os.execv(sys.executable, [sys.executable, "-m", "crosslens", *command])
