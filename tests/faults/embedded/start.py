"""`run.py` with an ear for campaigns: SIGUSR1 asks what it holds in memory, and a seeded defect may be put in.

`python -m tests.faults.embedded.start [options of run.py]`; the environment says where the account goes
(`FAULTS_ACCOUNT`) and which defect (`FAULTS_DEFECT`, as `module:function` of `seeded_defects`).
"""

from __future__ import annotations

import gc
import json
import os
import resource
import signal
from collections import Counter
from pathlib import Path

from app.cli import main
from tests.faults.seeded_defects import put_in


def account(_signal: int, _frame: object) -> None:
    """Write what is left after the collector: resident bytes, objects it knows of, and those of our classes by name."""
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    objects = gc.get_objects()
    ours = Counter(type(one).__qualname__ for one in objects if type(one).__module__.startswith("app."))
    held = {"resident": pages * resource.getpagesize(), "objects": len(objects), "ours": ours}
    target = Path(os.environ["FAULTS_ACCOUNT"])
    draft = target.with_suffix(".draft")
    draft.write_text(json.dumps(held), encoding="utf-8")
    draft.replace(target)


if __name__ == "__main__":
    signal.signal(signal.SIGUSR1, account)
    if defect := os.environ.get("FAULTS_DEFECT"):
        put_in(defect)
    main()
