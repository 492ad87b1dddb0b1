"""`python tests/faults/maimed.py DEFECT [options of run.py]`: the real server with one defect in it.

DEFECT is one of `seeded_defects`, as `module:function`.
"""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def main() -> None:
    sys.path[0] = str(ROOT)  # in place of this folder, as for run.py
    from tests.faults.seeded_defects import put_in  # noqa: PLC0415 - found from the root only

    put_in(sys.argv.pop(1))
    sys.argv[0] = str(ROOT / "run.py")
    from app.cli import main as command_line  # noqa: PLC0415 - the product is imported after it was given its defect

    command_line()


if __name__ == "__main__":
    main()
