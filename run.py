#!/usr/bin/env python3
"""Juxta's only entry: `python run.py` serves; `python run.py --help` lists the commands."""

import gc
import sys

if sys.version_info < (3, 11):  # noqa: UP036 - this file must speak to the Python that cannot run the rest
    sys.exit(
        "Juxta needs Python 3.11 or newer; this is %d.%d.\n"  # noqa: UP031 - and in words it understands
        "Install one, then type: make run" % sys.version_info[:2]
    )


def main() -> None:
    """Start the command line, or say what is missing."""
    # What a start loads stays: the collector, looking through it again and again, took a tenth of it.
    gc.set_threshold(50_000, 20, 20)
    try:
        from app.cli import main as command_line
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] == "app":
            raise
        sys.exit(
            f"Juxta's dependencies are not installed here ({error.name} is missing).\n"
            "Type this once:    make setup\n"
            "and then:          .venv/bin/python run.py"
        )
    command_line()


if __name__ == "__main__":
    main()
