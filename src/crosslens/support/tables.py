"""Tables that leave crosslens: as CSV, Markdown, LaTeX or HTML, and as data frames."""

from __future__ import annotations

import csv
import io
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, get_args

from crosslens.support.errors import ConfigError
from crosslens.support.files import atomic_path
from crosslens.support.terminal import visible

if TYPE_CHECKING:
    import pandas
    import pyarrow

TableFormat = Literal["csv", "markdown", "latex", "html"]
FORMATS: tuple[TableFormat, ...] = get_args(TableFormat)
"""What ``Table.render`` writes."""
SUFFIXES: dict[str, TableFormat] = {
    ".csv": "csv",
    ".md": "markdown",
    ".tex": "latex",
    ".html": "html",
    ".htm": "html",
}
"""Formats by the ending of a file."""
_DIGITS = 3


class Estimate(NamedTuple):
    """A number with its 95 % interval."""

    value: float
    low: float
    high: float


Cell = str | int | float | Estimate | list[str] | None


@dataclass(frozen=True)
class Table:
    """Rows of names and numbers under one header.

    CSV keeps numbers whole, and the ends of an interval in columns of their own (``NAME_low``, ``NAME_high``); all
    other formats are for reading.

    Attributes:
        columns: names, C of them.
        rows: C cells each; None is an empty one, a list is one cell whose texts are joined by ``; ``.
        title: over the table, where the format has a place for it.
    """

    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    title: str = ""

    def render(self, format: TableFormat | str) -> str:
        """The table as text.

        Raises:
            ConfigError: for an unknown format.
        """
        writers: dict[str, Callable[[], str]] = {
            "csv": self.to_csv,
            "markdown": self.to_markdown,
            "latex": self.to_latex,
            "html": self.to_html,
        }
        if format not in writers:
            raise ConfigError(f"there is no table format {format!r}; there are {', '.join(writers)}")
        return writers[format]()

    def write(self, file: str | Path, format: TableFormat | None = None) -> None:
        """Write the table, replacing the file in one step.

        Args:
            file: its ending tells the format where that is left out: .csv, .md, .tex or .html.
            format: of ``FORMATS``.

        Raises:
            ConfigError: for another ending or format.
            CrosslensError: for a file that cannot be written.
        """
        text = self.render(format or table_format(file))
        with atomic_path(Path(file)) as temporary:
            temporary.write_text(text, encoding="utf-8", newline="")

    def to_csv(self) -> str:
        """Comma-separated, one header line, numbers as they are."""
        spans = [
            column
            for column in range(len(self.columns))
            if any(isinstance(r[column], Estimate) for r in self.rows)
        ]
        header: list[str] = []
        for column, name in enumerate(self.columns):
            header += [name, f"{name}_low", f"{name}_high"] if column in spans else [name]
        lines = [_csv_line(header)]
        for row in self.rows:
            values: list[Any] = []
            for column, cell in enumerate(row):
                if isinstance(cell, Estimate):
                    values += cell
                else:
                    values += [cell, None, None] if column in spans else [cell]
            lines.append(_csv_line(["" if _is_missing(value) else _joined(value) for value in values]))
        return "".join(lines)

    def to_markdown(self) -> str:
        """A table of GitHub's Markdown, numbers to the right."""
        lines = [
            _markdown_line(self.columns),
            "|" + "|".join("---:" if right else "---" for right in self._is_number) + "|",
            *(_markdown_line(row) for row in self.texts()),
        ]
        return "\n".join(lines) + "\n"

    def to_latex(self) -> str:
        r"""A ``tabular`` in the manner of the package booktabs, which the document has to load."""
        aligned = "".join("r" if right else "l" for right in self._is_number)
        lines = [
            rf"\begin{{tabular}}{{{aligned}}}",
            r"\toprule",
            _latex_line(self.columns),
            r"\midrule",
            *(_latex_line(row) for row in self.texts()),
            r"\bottomrule",
            r"\end{tabular}",
        ]
        return "\n".join(lines) + "\n"

    def to_html(self) -> str:
        """A ``table`` element; what is written in it is text alone."""
        aligned = [
            ' style="text-align:right"' if right else ' style="text-align:left"' for right in self._is_number
        ]

        def line(cells: Sequence[str], tag: str) -> str:
            parts = (
                f"<{tag}{style}>{escape(visible(cell))}</{tag}>"
                for cell, style in zip(cells, aligned, strict=True)
            )
            return f"<tr>{''.join(parts)}</tr>"

        caption = f"<caption>{escape(visible(self.title))}</caption>" if self.title else ""
        body = "\n".join(line(row, "td") for row in self.texts())
        return f"<table>{caption}\n<thead>{line(self.columns, 'th')}</thead>\n<tbody>\n{body}\n</tbody></table>\n"

    def to_arrow(self) -> pyarrow.Table:
        """The cells as they are, intervals in columns of their own as in CSV."""
        import pyarrow as pa

        columns: dict[str, list[Any]] = {}
        for place, name in enumerate(self.columns):
            cells = [row[place] for row in self.rows]
            spans = [cell for cell in cells if isinstance(cell, Estimate)]
            columns[name] = [cell.value if isinstance(cell, Estimate) else cell for cell in cells]
            if spans:
                columns[f"{name}_low"] = [cell.low if isinstance(cell, Estimate) else None for cell in cells]
                columns[f"{name}_high"] = [cell.high if isinstance(cell, Estimate) else None for cell in cells]
        return pa.table(columns)

    def texts(self) -> list[list[str]]:
        """The rows as they are read: numbers to three digits, intervals behind them in brackets."""
        return [[_text(cell) for cell in row] for row in self.rows]

    @property
    def _is_number(self) -> list[bool]:
        return [
            any(not isinstance(row[column], str | list | None) for row in self.rows)
            for column in range(len(self.columns))
        ]

    def _repr_html_(self) -> str:
        return self.to_html()

    def __str__(self) -> str:
        rows = [list(self.columns), *self.texts()]
        widths = [max(len(row[column]) for row in rows) for column in range(len(self.columns))]
        aligned = [
            [
                cell.rjust(width) if right else cell.ljust(width)
                for cell, width, right in zip(row, widths, self._is_number, strict=True)
            ]
            for row in rows
        ]
        return "\n".join([*([self.title] if self.title else []), *("  ".join(row).rstrip() for row in aligned)])


def table_format(file: str | Path) -> TableFormat:
    """The format of a table by the ending of its file.

    Raises:
        ConfigError: for an ending that is none of a table's.
    """
    suffix = Path(file).suffix.lower()
    if suffix not in SUFFIXES:
        raise ConfigError(f"a table is a file that ends in {', '.join(SUFFIXES)}, not {str(file)!r}")
    return SUFFIXES[suffix]


class Tabled(ABC):
    """A result that is shown as a table, and given as one."""

    @abstractmethod
    def table(self) -> Table:
        """The result as a table."""

    def to_arrow(self) -> pyarrow.Table:
        """``table`` as an Arrow table."""
        return self.table().to_arrow()

    def to_pandas(self) -> pandas.DataFrame:
        """``table`` as a data frame.

        Raises:
            ConfigError: where pandas is not installed.
        """
        return to_pandas(self.to_arrow())


def to_pandas(table: pyarrow.Table) -> pandas.DataFrame:
    """An Arrow table as a data frame.

    Raises:
        ConfigError: where pandas is not installed.
    """
    try:
        import pandas  # noqa: F401
    except ImportError:
        raise ConfigError(
            "data frames need pandas: pip install pandas; the same rows are there as an Arrow table without it"
        ) from None
    return table.to_pandas()


def _is_missing(value: object) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value))


def _text(cell: Cell) -> str:
    if cell is None or (isinstance(cell, float) and math.isnan(cell)):
        return ""
    if isinstance(cell, Estimate):
        return f"{cell.value:.{_DIGITS}f} [{cell.low:.{_DIGITS}f}, {cell.high:.{_DIGITS}f}]"
    return f"{cell:.{_DIGITS}f}" if isinstance(cell, float) else str(_joined(cell))


def _joined(cell: object) -> object:
    """A list as one text; anything else as it is."""
    return "; ".join(map(str, cell)) if isinstance(cell, list) else cell


def _csv_line(values: Sequence[object]) -> str:
    buffer = io.StringIO()
    # With this end of lines the writer quotes both letters of it; with another it leaves a bare \r as it is.
    csv.writer(buffer, lineterminator="\r\n").writerow(values)
    return buffer.getvalue().removesuffix("\r\n") + "\n"


_MARKDOWN = str.maketrans({"&": "&amp;", "<": "&lt;", **{letter: f"\\{letter}" for letter in "\\|`*_~"}})


def _markdown_line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(visible(cell).translate(_MARKDOWN) for cell in cells) + " |"


_LATEX = str.maketrans(
    {
        "\\": r"\textbackslash{}",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        "<": r"\textless{}",
        ">": r"\textgreater{}",
        "|": r"\textbar{}",
        # A bracket after the end of a line would be read as its argument.
        "[": "{[}",
        "]": "{]}",
        **{letter: f"\\{letter}" for letter in "&%$#_{}"},
    }
)


def _latex_line(cells: Sequence[str]) -> str:
    return (
        " & ".join(visible(cell).replace("->", "\0").translate(_LATEX).replace("\0", r"$\to$") for cell in cells)
        + r" \\"
    )
