"""`python tests/faults/maimed.py MODULE:FUNCTION [options of run.py]`: the real server with one defect in it.

The function is called once, before the server's command line begins; it may replace any part of the product.
"""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path

ROOT = Path(__file__).parents[2]


def main() -> None:
    sys.path[0] = str(ROOT)  # in place of this folder, as for run.py
    module, function = sys.argv.pop(1).split(":")
    getattr(import_module(module), function)()
    sys.argv[0] = str(ROOT / "run.py")
    from app.cli import main as command_line  # noqa: PLC0415 - the product is imported after it was given its defect

    command_line()


if __name__ == "__main__":
    main()
