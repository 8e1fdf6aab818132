"""Drawing emoji: SVG groups to PNG files, in worker processes (the rasteriser holds Python's lock)."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
import threading
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import Literal

from crosslens.support.errors import CatalogError

Look = Literal["line", "color", "flat"]

SIDE = 256
"""Side of every picture in pixels."""

_SVG = "http://www.w3.org/2000/svg"
# The second holds the strokes that the fillings cover: the letter in a square, the seam of a ball.
_STROKES = ("line", "line-supplement")
_PNG_END = b"IEND\xaeB`\x82"
_FEWEST_FOR_WORKERS = 64  # below this, starting a process takes longer than drawing

Job = tuple[Look, str, str]
"""How to draw, SVG file, PNG file."""


def draw(look: Look, svg: Path) -> bytes | None:
    """Draw one SVG file on white.

    Args:
        look: ``line``: only the strokes of an OpenMoji file, its groups ``line`` and ``line-supplement``;
            ``color``: all its groups but these; ``flat``: the whole file.
        svg: the file.

    Returns:
        A PNG of ``SIDE`` x ``SIDE`` pixels, or None when nothing but white was drawn.

    Raises:
        CatalogError: when the file cannot be read or drawn.
    """
    try:
        if look == "flat":
            text = svg.read_text(encoding="utf-8")
        else:
            root = ET.parse(svg).getroot()
            # Groups nest (a "line" group may hold another), so only the top level is sorted out.
            for group in list(root):
                if (group.get("id") in _STROKES) != (look == "line"):
                    root.remove(group)
            text = ET.tostring(root, encoding="unicode")
        picture = _rasterise(text)
    except (OSError, ET.ParseError, ValueError) as error:
        raise CatalogError(f"the emoji {svg} cannot be drawn: {error}") from error
    return None if picture == _white() else picture


def is_whole(png: Path) -> bool:
    """Whether the file exists and ends as a PNG does, so a crash did not cut it short."""
    try:
        with open(png, "rb") as file:
            file.seek(-len(_PNG_END), os.SEEK_END)
            return file.read() == _PNG_END
    except OSError:
        return False


def draw_all(jobs: Sequence[Job], on_progress: Callable[[int, int], None] | None = None) -> list[int]:
    """Draw many files, in as many processes as there are cores.

    Every PNG appears under its name only when it is complete, so several callers may draw the same ones.

    Args:
        jobs: what to draw; the target folders must exist.
        on_progress: called with (pictures done, pictures in all), from one thread at a time.

    Returns:
        The size of each PNG in bytes, in the order of ``jobs``; 0 for a blank picture, which is not written.

    Raises:
        CatalogError: when a picture cannot be drawn or written.
    """
    sizes = [-1] * len(jobs)
    lock = threading.Lock()
    done = 0

    def drawn(number: int, size: int) -> None:
        nonlocal done
        with lock:
            sizes[number] = size
            done += 1
            if on_progress is not None:
                on_progress(done, len(jobs))

    workers = min(8, os.cpu_count() or 1)
    if workers == 1 or len(jobs) < _FEWEST_FOR_WORKERS or not sys.executable:
        for number, job in enumerate(jobs):
            drawn(number, _draw_to_file(job))
    else:
        _draw_in_workers(jobs, workers, drawn)
    return sizes


def _draw_in_workers(jobs: Sequence[Job], workers: int, drawn: Callable[[int, int], None]) -> None:
    # Not multiprocessing: it would import the caller's main script again in every worker.
    command = [sys.executable, "-m", "crosslens.datasets.emoji_drawing"]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    pipe = subprocess.PIPE
    processes = [
        subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True, env=environment)
        for _ in range(workers)
    ]

    def drive(worker: int) -> None:
        process = processes[worker]
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        try:
            json.dump(jobs[worker::workers], process.stdin)
            process.stdin.close()
        except BrokenPipeError:
            pass  # it died at its start; what it said is read below
        for line, number in zip(process.stdout, range(worker, len(jobs), workers), strict=False):
            drawn(number, int(line))
        complaint = process.stderr.read().strip()
        if process.wait() != 0:
            raise CatalogError(complaint.rpartition("\n")[2] or f"drawing ended with status {process.returncode}")

    try:
        with ThreadPoolExecutor(workers) as pool:
            try:
                for _ in pool.map(drive, range(workers)):
                    pass
            except BaseException:
                # Also for Ctrl-C: the threads wait for output until their processes are gone.
                for process in processes:
                    process.kill()
                raise
    finally:
        for process in processes:
            with process:  # closes the pipes and reaps
                process.kill()


def _draw_to_file(job: Job) -> int:
    look, svg, png = job
    picture = draw(look, Path(svg))
    if picture is None:
        return 0
    temporary = f"{png}.{os.getpid()}-{secrets.token_hex(4)}.tmp"
    try:
        try:
            Path(temporary).write_bytes(picture)
            os.replace(temporary, png)
        finally:
            Path(temporary).unlink(missing_ok=True)
    except OSError as error:
        raise CatalogError(f"could not write {png}: {error.strerror or error}") from error
    return len(picture)


def _rasterise(svg: str) -> bytes:
    import resvg_py

    # No emoji file holds text, and looking for the system's fonts would cost more than drawing.
    return bytes(resvg_py.svg_to_bytes(svg, width=SIDE, height=SIDE, background="white", skip_system_fonts=True))


@cache
def _white() -> bytes:
    return _rasterise(f'<svg xmlns="{_SVG}" viewBox="0 0 72 72"/>')


def _serve() -> Iterator[int]:
    for job in json.load(sys.stdin):
        yield _draw_to_file(job)


if __name__ == "__main__":
    try:
        for size in _serve():
            print(size, flush=True)
    except CatalogError as error:
        sys.exit(str(error))
