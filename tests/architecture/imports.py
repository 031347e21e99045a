"""Which module of monitor imports what, read from the source without running it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

MONITOR = Path(__file__).parents[2] / "monitor"


def module_name(path: Path) -> str:
    parts = list(path.relative_to(MONITOR.parent).with_suffix("").parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@cache
def imports() -> dict[str, frozenset[str]]:
    """All modules of monitor with what each imports, also inside functions and for type checking."""
    return {module_name(path): frozenset(_imported(path)) for path in sorted(MONITOR.rglob("*.py"))}


def _imported(path: Path) -> Iterator[str]:
    package = module_name(path) if path.name == "__init__.py" else module_name(path).rpartition(".")[0]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        match node:
            case ast.Import(names=names):
                yield from (alias.name for alias in names)
            case ast.ImportFrom(module=module, names=names, level=level):
                base = package.rsplit(".", level - 1)[0] if level else ""
                origin = ".".join(filter(None, [base, module]))
                for alias in names:
                    inner = MONITOR.parent.joinpath(*origin.split("."), alias.name)
                    is_module = inner.is_dir() or inner.with_suffix(".py").exists()
                    yield f"{origin}.{alias.name}" if is_module else origin
            case ast.Call(func=ast.Attribute(attr="import_module"), args=[ast.Constant(value=str(name)), *_]):
                yield name


def is_within(module: str, package: str) -> bool:
    return module == package or module.startswith(package + ".")
