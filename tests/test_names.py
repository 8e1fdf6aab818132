"""What a module shows has a use: a name that nobody else has begins with an underscore."""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "crosslens"
OTHERS = [
    file
    for folder, kinds in {
        "docs": ("*.md", "*.py"),
        "tests": ("*.py",),
        "benchmarks": ("*",),
        "drawings": ("*.py",),
    }.items()
    for kind in kinds
    for file in (ROOT / folder).rglob(kind)
    if file.is_file()
] + [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "pyproject.toml")]
WORD = re.compile(r"\w+")


def names_in(node: ast.AST | None) -> set[str]:
    """All names in an expression; annotations in quotes count too."""
    found = set()
    for one in () if node is None else ast.walk(node):
        if isinstance(one, ast.Name):
            found.add(one.id)
        elif isinstance(one, ast.Constant) and isinstance(one.value, str):
            found.update(WORD.findall(one.value))
    return found


def shown_by(nodes: list[ast.stmt]) -> Iterator[str]:
    """Names that what is public says of itself: the types of what it takes, gives, holds and stands on."""
    for node in nodes:
        if isinstance(node, ast.AnnAssign):
            yield from names_in(node.annotation)
        elif isinstance(node, ast.Assign) and all(isinstance(target, ast.Name) for target in node.targets):
            # An alias, or what a class says of itself.
            yield from names_in(node.value)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and is_public(node.name):
            told = [
                *node.args.args,
                *node.args.kwonlyargs,
                *node.args.posonlyargs,
                node.args.vararg,
                node.args.kwarg,
            ]
            for annotation in [node.returns, *(one.annotation for one in told if one is not None)]:
                yield from names_in(annotation)
        elif isinstance(node, ast.ClassDef) and is_public(node.name):
            for base in node.bases:
                yield from names_in(base)
            yield from shown_by(node.body)


def is_public(name: str) -> bool:
    return not name.startswith("_") or name in ("__init__", "__call__", "__new__")


def is_registered(node: ast.stmt) -> bool:
    """Whether a decorator such as ``@app.command()`` gives it to somebody who calls it."""
    decorators = getattr(node, "decorator_list", ())
    return any(isinstance(one, ast.Call) and isinstance(one.func, ast.Attribute) for one in decorators)


def declared(node: ast.stmt) -> list[str]:
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return [node.name]
    targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
    return [target.id for target in targets if isinstance(target, ast.Name)]


def idle_names() -> Iterator[tuple[Path, str]]:
    """Public names of the package's modules that are not used, named or shown anywhere else."""
    texts = {file: file.read_text() for file in SOURCE.rglob("*.py")}
    words = {file: set(WORD.findall(text)) for file, text in texts.items()}
    held = Counter(word for own in words.values() for word in own)
    outside = set().union(*(WORD.findall(file.read_text(errors="ignore")) for file in OTHERS))
    for file, text in texts.items():
        body = ast.parse(text).body
        shown = set(
            shown_by(
                [node for node in body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)]
            )
        )
        for node in body:
            for name in declared(node):
                if is_public(name) and not is_registered(node) and held[name] == 1 and name not in outside | shown:
                    yield file.relative_to(SOURCE), name


def test_what_nobody_else_uses_is_private():
    assert not [f"{file}: {name}" for file, name in sorted(idle_names())]


def test_every_name_of_the_package_is_in_the_reference():
    import crosslens

    told = set(WORD.findall((ROOT / "docs" / "reference.md").read_text()))
    # Errors stand there as one module.
    assert set(crosslens.__all__) - told == {"CrosslensError", "__version__"}
