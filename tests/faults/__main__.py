"""Run fault campaigns: `python -m tests.faults crash defects`, short; with `--full` as long as the bars ask for."""

from __future__ import annotations

import argparse
import logging
import sys
import time
from collections.abc import Callable, Mapping

import structlog

from tests.faults.campaigns import (
    broker,
    crash,
    defects,
    edge,
    engines,
    kills,
    network,
    overload,
    rebalance,
    soak,
    stops,
    storage,
)
from tests.faults.findings import Findings, Observed, table, write
from tests.faults.poison import campaign as poison
from tests.faults.races import campaign as races

Campaign = Callable[..., Observed]
CAMPAIGNS: Mapping[str, Campaign] = {
    "crash": crash.run,
    "defects": defects.run,
    "races": races.run,
    "poison": poison.run,
    "edge": edge.run,
    "kills": kills.run,
    "stops": stops.run,
    "broker": broker.run,
    "rebalance": rebalance.run,
    "network": network.run,
    "engines": engines.run,
    "storage": storage.run,
    "overload": overload.run,
    "soak": soak.run,
}
"""Each is `run(seed, full=…)`."""

WHOLE = frozenset({"poison"})
"""It has no short form: tests of its own run it whole."""

SEED = 20_261_125


def carried_out(name: str, seed: int, *, full: bool) -> Findings:
    """Run a campaign by its name, and note the command that does it again."""
    began = time.monotonic()
    observed = CAMPAIGNS[name](seed, full=full)
    command = f"python -m tests.faults {name}{' --full' if full else ''} --seed {seed}"
    return Findings(name, command, time.monotonic() - began, observed.figures, observed.complaints)


def main() -> None:
    """Print the tables; exit status 1 when a bar is not met."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("campaigns", nargs="*", help=f"of {', '.join(CAMPAIGNS)}; all of them by default")
    parser.add_argument("--full", action="store_true", help="the long form, up to ten minutes each")
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--write", action="store_true", help="put the tables into docs/reliability.md")
    options = parser.parse_args()
    if strangers := set(options.campaigns) - set(CAMPAIGNS):
        parser.error(f"no such campaign: {', '.join(sorted(strangers))}")
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL)
    )  # faults are the plan here
    met = True
    for name in options.campaigns or CAMPAIGNS:
        findings = carried_out(name, options.seed, full=options.full)
        print(table(findings), flush=True)
        for complaint in findings.complaints:
            print(f"  {complaint}", file=sys.stderr, flush=True)
        if options.write:
            write(findings)
        met = met and findings.met
    sys.exit(not met)


if __name__ == "__main__":
    main()
