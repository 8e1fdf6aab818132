"""``crosslens benchmark``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from crosslens.cli.options import Device, Json, Quiet, emit_json, is_free
from crosslens.support.errors import ConfigError
from crosslens.support.terminal import echo, print_table

if TYPE_CHECKING:
    from crosslens.api.benchmarking.benchmarking import BenchmarkRequest
    from crosslens.evaluation.suite_results import SuiteResults
    from crosslens.support.tables import Table


def benchmark(
    suite: Annotated[
        Path, typer.Argument(help="A suite (.yaml), or results (.parquet) to write --markdown from again.")
    ],
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="The folder of jobs, results and page; what is in it is not done again."),
    ] = None,
    jobs: Annotated[
        int | None, typer.Option("--jobs", min=1, help="Processes, one a job; one a processor by default.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="List the jobs with an estimate of their time, and do none.")
    ] = False,
    so_far: Annotated[
        bool, typer.Option("--so-far", help="Do no job; write results and page of what is done.")
    ] = False,
    skip_missing: Annotated[
        bool, typer.Option("--skip-missing", help="Leave data sets out that are not there.")
    ] = False,
    features: Annotated[
        Path | None,
        typer.Option("--features", help="A folder with feature folders named like the data sets; else the cache."),
    ] = None,
    markdown: Annotated[
        Path | None,
        typer.Option("--markdown", help="A Markdown page whose marked tables are written anew from the results."),
    ] = None,
    device: Device = None,
    json: Json = None,
    quiet: Quiet = False,
) -> None:
    """Measure methods x backbones x data sets x protocols x goals x seeds, and write one table and page of it.

    The suite says what. Every combination is a job, done by a process of its own and once: a second call does what
    is missing, also after a kill or a change of the suite. OUT/report.html shows means with intervals, paired
    tests, ranks, classes and queries that flip; OUT/results.parquet holds every query, OUT/tables the tables as
    CSV, Markdown and LaTeX.

    Example: crosslens benchmark suite.yaml --out results      crosslens benchmark suite.yaml -o results --dry-run
    """
    if suite.suffix.lower() == ".parquet":
        if markdown is None:
            raise ConfigError("of results alone a page is written: give --markdown PAGE.md")
        from crosslens.evaluation.suite_results import SuiteResults

        _write_markdown(SuiteResults.read(suite), markdown)
        return
    if out is None:
        raise ConfigError("name the folder for jobs and results: --out results")
    from crosslens.support.addresses import path_here

    path_here(out)
    from crosslens.api.benchmarking.suite import read_suite

    read_suite(suite)
    from crosslens.api.benchmarking.benchmarking import BenchmarkRequest, plan_of, run_suite, write_outcome

    request = BenchmarkRequest.of(
        suite=suite, out=out, jobs=jobs, skip_missing=skip_missing, features=features, device=device
    )
    if dry_run:
        _show_plan(request, json)
        return
    outcome = write_outcome(*plan_of(request), out) if so_far else run_suite(request)
    value: dict[str, Any] = {
        "out": str(out),
        "missing": outcome.missing,
        "failed": [{"cell": str(f.job.cell), "reason": f.reason, "log": str(f.log)} for f in outcome.failures],
        "left_out": dict(outcome.left_out),
    }
    emit_json(json, value)
    for failure in outcome.failures:
        echo(f"failed: {failure.job.cell}: {failure.reason} ({failure.log})", err=True)
    for name, reason in outcome.left_out.items():
        echo(f"left out: {name}: {reason}", err=True)
    if outcome.results is not None:
        if markdown is not None:
            _write_markdown(outcome.results, markdown)
        if is_free(json):
            _show(outcome.results)
            echo(outcome.page)
    if outcome.missing and not outcome.failures:
        echo(f"{outcome.missing} job(s) are still missing; the same command without --so-far does them", err=True)
    if outcome.failures or outcome.results is None:
        raise typer.Exit(1)


def _show_plan(request: BenchmarkRequest, json: Path | None) -> None:
    """The jobs, done ones among them, and how long the others will take."""
    import os

    from crosslens.api.benchmarking.benchmarking import plan_of
    from crosslens.api.benchmarking.job import is_done
    from crosslens.api.benchmarking.running import Estimates
    from crosslens.support.progress import duration

    _, planned = plan_of(request)
    estimate = Estimates(request.out)
    told = [(job, is_done(request.out, job), estimate(job)) for job in planned.jobs]
    processes = request.jobs or os.cpu_count() or 1
    left = sum(seconds for _, done, seconds in told if not done) / processes
    jobs = [
        {"cell": str(job.cell), "key": job.key, "fits": len(job.parts), "done": done, "seconds": round(seconds)}
        for job, done, seconds in told
    ]
    emit_json(json, {"jobs": jobs, "seconds_left": round(left), "left_out": dict(planned.left_out)})
    if is_free(json):
        rows = [
            (str(job.cell), str(len(job.parts)), "done" if done else duration(seconds))
            for job, done, seconds in told
        ]
        print_table(f"{len(rows)} jobs", ("job", "fits", "time"), rows)
        for name, reason in planned.left_out.items():
            echo(f"left out: {name}: {reason}", err=True)
        words = f"{len(jobs)} jobs, {sum(done for _, done, _ in told)} done"
        echo(f"{words}; about {duration(left)} left with {processes} process(es), embedding not counted")


def _show(results: SuiteResults) -> None:
    from crosslens.evaluation.standings import chapters_of
    from crosslens.report.suite_tables import means_table

    for table in map(means_table, chapters_of(results)):
        _print(table)


def _print(table: Table) -> None:
    print_table(table.title, table.columns, table.texts())


def _write_markdown(results: SuiteResults, page: Path) -> None:
    from crosslens.report.suite_markdown import write_tables

    write_tables(results, page)
