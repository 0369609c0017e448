"""Prints figures of the code: lines per layer, repeated lines, function lengths, framework literals, strict types.

python benchmarks/code_figures.py [--blocks=10]

Product code is every Python file of `PRODUCT`; tests are left out. A line counts as repeated where it stands in a run
of at least `MIN_RUN` lines that occurs in another file too; docstrings, imports, comments and lines of one or two
characters are removed first.
"""

import argparse
import ast
import io
import statistics
import tokenize
import tomllib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from algoperf.definition import FRAMEWORKS

ROOT = Path(__file__).resolve().parent.parent
PRODUCT = (
    "algoperf",
    "workloads",
    "reference_algorithms",
    "scoring",
    "benchmarks",
    "submissions",
    "submission_runner.py",
)
LAYERS = ("runner", "harness", "submissions", "records")
MIN_RUN = 6


@dataclass(frozen=True, kw_only=True)
class Block:
    """Code lines that stand in several files; `positions` are (file, line number of the first) of each."""

    lines: tuple[str, ...]
    positions: tuple[tuple[str, int], ...]


def product_sources(root: Path = ROOT) -> dict[str, dict[str, str]]:
    """Text of the Python files of each area of the product by name, tests left out."""
    files = {a: [root / a] if a.endswith(".py") else sorted((root / a).rglob("*.py")) for a in PRODUCT}
    return {area: {str(path.relative_to(root)): path.read_text() for path in paths} for area, paths in files.items()}


def code_lines(source: str) -> list[tuple[int, str]]:
    """(line number, stripped text) of the lines that hold code, as the module's docstring defines it."""
    tree = ast.parse(source)
    removed: set[int] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom) or _is_docstring(node):
            removed.update(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    lines = source.splitlines()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            row, column = token.start
            lines[row - 1] = lines[row - 1][:column]
    stripped = ((number, line.strip()) for number, line in enumerate(lines, start=1))
    return [(number, line) for number, line in stripped if number not in removed and len(line) > 2]


def _is_docstring(node: ast.AST) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def repeated_share(sources: Mapping[str, str]) -> float:
    """Share of the code lines of `sources` (text by file name) that stand in a run of another file too; in [0, 1]."""
    codes = {name: code_lines(source) for name, source in sources.items()}
    total = sum(map(len, codes.values()))
    repeated = set()
    for name, start, *_ in _repeated_runs(codes):
        repeated.update((name, start + offset) for offset in range(MIN_RUN))
    return len(repeated) / total if total else 0.0


def _repeated_runs(codes: Mapping[str, Sequence[tuple[int, str]]]) -> Iterator[tuple[str, int, str, int]]:
    """(file, index, other file, index there) of every run of `MIN_RUN` lines that two files share."""
    homes: dict[tuple[str, ...], list[tuple[str, int]]] = defaultdict(list)
    for name, lines in codes.items():
        texts = [text for _, text in lines]
        for start in range(len(texts) - MIN_RUN + 1):
            homes[tuple(texts[start : start + MIN_RUN])].append((name, start))
    for starts in homes.values():
        for name, start in starts:
            yield from ((name, start, other, there) for other, there in starts if other != name)


def blocks(sources: Mapping[str, str]) -> list[Block]:
    """The repeated blocks, those with the most lines first."""
    codes = {name: code_lines(source) for name, source in sources.items()}
    runs = set(_repeated_runs(codes))
    positions: dict[tuple[str, ...], set[tuple[str, int]]] = defaultdict(set)
    for name, start, other, there in runs:
        if (name, start - 1, other, there - 1) in runs:
            continue
        length = MIN_RUN
        while (name, start + length - MIN_RUN + 1, other, there + length - MIN_RUN + 1) in runs:
            length += 1
        lines = tuple(text for _, text in codes[name][start : start + length])
        positions[lines] |= {(name, codes[name][start][0]), (other, codes[other][there][0])}
    matches = [Block(lines=lines, positions=tuple(sorted(at))) for lines, at in positions.items()]
    return sorted(matches, key=lambda block: (-len(block.lines) * len(block.positions), block.positions))


def function_lengths(source: str) -> list[int]:
    """Lines of every function and method, from `def` to its last line."""
    functions = (n for n in ast.walk(ast.parse(source)) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef))
    return [(node.end_lineno or node.lineno) - node.lineno + 1 for node in functions]


def percentile(values: Iterable[int], share: float) -> int:
    """The smallest value that at least `share` of the values do not exceed; 0 for none."""
    ordered = sorted(values)
    return ordered[max(0, -int(-share * len(ordered) // 1) - 1)] if ordered else 0


def files_with_framework_names(sources: Mapping[str, str]) -> list[str]:
    """Files, benchmarks left out, in which a string is the name of a framework."""
    return [
        name
        for name, source in sources.items()
        if not name.startswith("benchmarks/")
        and any(isinstance(n, ast.Constant) and n.value in FRAMEWORKS for n in ast.walk(ast.parse(source)))
    ]


def strict_packages(root: Path = ROOT) -> list[str]:
    """What mypy checks with `strict`, as pyproject.toml says; empty without `strict`."""
    options = tomllib.loads((root / "pyproject.toml").read_text())["tool"]["mypy"]
    return [*options.get("packages", ()), *options.get("modules", ())] if options.get("strict") else []


def print_figures(areas: Mapping[str, Mapping[str, str]]) -> None:
    """Prints every figure but the blocks; `areas` holds the text of each file by its name."""
    everything = {name: source for sources in areas.values() for name, source in sources.items()}
    for layer in LAYERS:
        counts = [len(s.splitlines()) for name, s in everything.items() if name.startswith(f"algoperf/{layer}/")]
        print(f"layer {layer}: {sum(counts)} lines in {len(counts)} files")
    print(f"repeated lines (runs of {MIN_RUN} or more): {repeated_share(everything):.2%}")
    for area, sources in {**areas, "all": everything}.items():
        lengths = [length for source in sources.values() for length in function_lengths(source)]
        median, p95 = statistics.median(lengths), percentile(lengths, 0.95)
        print(f"function length in {area}: median {median:g}, p95 {p95}, max {max(lengths)}")
    named = files_with_framework_names(everything)
    print(f"files with a framework's name as a literal: {len(named)} ({', '.join(named)})")
    print(f"mypy strict: {', '.join(strict_packages()) or 'none'}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--blocks", type=int, default=0, help="how many of the largest repeated blocks to print")
    arguments = parser.parse_args()
    areas = product_sources()
    print_figures(areas)
    everything = {name: source for sources in areas.values() for name, source in sources.items()}
    for block in blocks(everything)[: arguments.blocks]:
        positions = ", ".join(f"{name}:{line}" for name, line in block.positions)
        print(f"\n{len(block.lines)} lines in {len(block.positions)} files: {positions}")
        print("\n".join(f"    {line}" for line in block.lines))


if __name__ == "__main__":
    main()
