"""Measures the statistics against their bars, with fixed seeds.

python -m benchmarks.statistics [names ...] [--json FILE]
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import sys
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table

NAMES = ("pairs", "confidence", "judges", "position", "honesty", "likelihood", "small", "large", "grades")


def main() -> int:
    """Measure what is asked for; 1 when a bar was missed."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.statistics", description=__doc__.splitlines()[0]
    )
    parser.add_argument("names", nargs="*", help=f"of {', '.join(NAMES)}; all without any")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there, too")
    asked = parser.parse_args()
    if unknown := set(asked.names) - set(NAMES):
        parser.error(f"there is no {', '.join(sorted(unknown))}")
    os.environ |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}  # before numpy is imported
    console = Console(width=None if sys.stdout.isatty() else 120, highlight=False)
    lines = []
    for name in asked.names or NAMES:
        began = time.perf_counter()
        bars = importlib.import_module(f"benchmarks.statistics.{name}").run()
        table = Table(f"{name} ({time.perf_counter() - began:.0f} s)", box=None, pad_edge=False)
        for column in ("measured", "bar", ""):
            table.add_column(column, justify="left" if column == "" else "right")
        for bar in bars:
            table.add_row(bar.name, f"{bar.value:.4g} {bar.unit}".strip(), bar.limit, bar.word)
            lines.append({"benchmark": name} | bar._asdict() | {"ok": bar.ok})
        console.print(table)
        console.print()
    load = ", ".join(f"{minutes:.1f}" for minutes in os.getloadavg())
    console.print(f"{os.cpu_count()} cores, load {load} over 1, 5, 15 minutes", style="dim")
    if asked.json:
        asked.json.write_text(json.dumps(lines, indent=2) + "\n", encoding="utf-8")
    return int(not all(line["ok"] for line in lines))


if __name__ == "__main__":
    raise SystemExit(main())
