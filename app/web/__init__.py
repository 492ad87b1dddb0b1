"""What people see: pages, their live stream, plots and reports. Reads are URLs and work without JavaScript."""

from pathlib import Path

STATIC = Path(__file__).parent / "static"
