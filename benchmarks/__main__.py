"""Runs benchmarks, each in a process of its own, and prints every figure beside its floor.

python -m benchmarks [names ...] [--repeat N] [--json FILE]
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from statistics import median_low

from rich.console import Console
from rich.table import Table

from benchmarks.result import Result

REPEATS = {
    "bus": 1,
    "kafka": 1,
    "queue": 1,
    "redis": 1,
    "postgresql": 1,
    "http": 1,
    "flow": 3,
    "memory": 1,
    "apart": 1,
    "production": 1,
    "polling": 1,
}
"""How often each is run; those that are run once repeat inside, or measure what hardly varies."""

ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}  # as the Makefile starts the house
TIMEOUT = 600.0


def main() -> int:
    """Run what is asked for; 1 when a bar was missed or a benchmark failed."""
    asked = _arguments()
    if asked.child:
        print(
            json.dumps(
                [list(result) for result in importlib.import_module(f"benchmarks.{asked.child}").run()]
            )
        )
        return 0
    console = Console(width=None if sys.stdout.isatty() else 120, highlight=False)
    runs: dict[str, list[Result]] = {}
    failed = False
    for name in asked.names or REPEATS:
        if importlib.util.find_spec(f"benchmarks.{name}") is None:
            console.print(f"{name}: not there yet, skipped", style="dim")
            continue
        for _ in range(asked.repeat or REPEATS.get(name, 1)):
            results = _run(name, console)
            failed = failed or results is None
            for place, result in enumerate(results or ()):
                runs.setdefault(f"{name} {place}", []).append(result)
    medians = [_median(results) for results in runs.values()]
    console.print(_table(medians))
    load = ", ".join(f"{minutes:.1f}" for minutes in os.getloadavg())
    console.print(f"{os.cpu_count()} cores, load {load} over 1, 5, 15 minutes", style="dim")
    if asked.json:
        lines = [result._asdict() | {"ratio": result.ratio, "ok": _ok(result)} for result in medians]
        asked.json.write_text(json.dumps(lines, indent=2) + "\n", encoding="utf-8")
    return int(failed or not all(map(_ok, medians)))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", help=f"of {', '.join(REPEATS)}; all without any")
    parser.add_argument("--repeat", type=int, metavar="N", help="run each so often and take medians")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there, too")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    return parser.parse_args()


def _run(name: str, console: Console) -> Sequence[Result] | None:
    """Run one benchmark once, in a process that nothing has warmed, filled or slowed before."""
    command = [sys.executable, "-m", "benchmarks", "--child", name]
    with console.status(name):
        try:
            done = subprocess.run(
                command,
                env=os.environ | ONE_THREAD,
                stdout=subprocess.PIPE,
                text=True,
                check=True,
                timeout=TIMEOUT,
            )
        except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
            console.print(f"{name}: {error}", style="red")
            return None
    return [Result(*fields) for fields in json.loads(done.stdout.splitlines()[-1])]


def _median(results: Sequence[Result]) -> Result:
    """The run whose ratio is in the middle, whole, so that its figures belong together."""
    middle = median_low(result.ratio for result in results)
    return next(result for result in results if result.ratio == middle)


def _ok(result: Result) -> bool:
    return result.ratio >= result.bar


def _table(results: Sequence[Result]) -> Table:
    table = Table("benchmark", box=None, pad_edge=False)
    for column in ("ours", "floor", "unit", "ratio", "bar", ""):
        table.add_column(column, justify="left" if column in {"unit", ""} else "right")
    for result in results:
        table.add_row(
            result.name,
            f"{result.ours:,.0f}",
            f"{result.floor:,.0f}",
            result.unit,
            f"{result.ratio:.2f}",
            f"{result.bar:.2f}",
            "ok" if _ok(result) else "missed",
        )
    return table


if __name__ == "__main__":
    raise SystemExit(main())
