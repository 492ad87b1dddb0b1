"""The long form: about five minutes against a server that fails in the middle."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from .batch import Weather, checks, run, table

WEATHER = Weather(
    essays=100, per_essay=20, latency=2.0, per_minute=300, concurrency=32, outage=30.0, patience=900.0
)


def main() -> None:
    """Print the table; exit status 1 when something does not hold."""
    with tempfile.TemporaryDirectory(prefix="juxta-proof-") as folder:
        found = run(WEATHER, Path(folder))
    print(table(found))
    sys.exit(not all(check.holds for check in checks(found)))


if __name__ == "__main__":
    main()
