"""`run.py` with an ear for campaigns: SIGUSR1 asks what it holds in memory, and a seeded defect may be put in.

`python -m tests.faults.embedded.start [options of run.py]`; the environment says where the account goes
(`FAULTS_ACCOUNT`) and which defect (`FAULTS_DEFECT`).
"""

from __future__ import annotations

import gc
import json
import os
import resource
import signal
from pathlib import Path

from app.cli import main
from tests.faults.embedded.defects import DEFECTS


def account(_signal: int, _frame: object) -> None:
    """Write what is left after the collector: resident bytes, and objects the collector knows of."""
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    held = {"resident": pages * resource.getpagesize(), "objects": len(gc.get_objects())}
    target = Path(os.environ["FAULTS_ACCOUNT"])
    draft = target.with_suffix(".draft")
    draft.write_text(json.dumps(held), encoding="utf-8")
    draft.replace(target)


if __name__ == "__main__":
    signal.signal(signal.SIGUSR1, account)
    if defect := os.environ.get("FAULTS_DEFECT"):
        DEFECTS[defect]()
    main()
