"""Serve in the foreground, for people who try a judge without a key or against bad weather."""

from __future__ import annotations

import argparse
import asyncio
import signal
from decimal import Decimal
from pathlib import Path

from app.errors import ConfigurationError
from app.provider.judges.simulated import load_scores
from tests.fake_llm.counting import Prices
from tests.fake_llm.judging import FakeJudge
from tests.fake_llm.misbehaviours import ALL
from tests.fake_llm.plan import Plan
from tests.fake_llm.server import FakeLLM


def main() -> None:
    """Until Ctrl-C, or say what is wrong with the options."""
    parser = _parser()
    options = parser.parse_args()
    if options.list:
        for each in ALL:
            print(f"{each.name:24} {each.says}")
        return
    try:
        scores = load_scores(options.truth) if options.truth else None
        plans = [Plan.read(text) for text in options.misbehave]
        prices = Prices(*options.prices[:4]) if options.prices else None
    except (ConfigurationError, ValueError) as error:
        parser.error(str(error))
    judge = FakeJudge(scores, seed=options.seed, discrimination=options.discrimination, bias=options.bias)
    server = FakeLLM(
        port=options.port,
        control_port=options.control_port,
        judge=judge,
        key=options.key,
        models=options.model or None,
        latency=options.latency,
        errors=options.errors,
        per_minute=options.per_minute,
        prices=prices,
        cache_minimum=options.cache_minimum,
        pace=options.pace,
        seed=options.seed,
    )
    try:
        asyncio.run(_serve(server, plans))
    except OSError as error:
        parser.exit(1, f"It cannot serve: {error}\n")


async def _serve(server: FakeLLM, plans: list[Plan]) -> None:
    ended = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    async with server:
        print(f"OpenAI     {server.url}/v1")
        print(f"Anthropic  {server.url}")
        print(f"Google     {server.url}")
        print(f"Control    {server.control_url}/_fake/stats, …/misbehave, …/misbehaviours")
        print("Ctrl-C ends it.", flush=True)
        for plan in plans:
            await server.misbehave(plan)
        await ended.wait()
        stats = server.stats()
    print(f"{stats['starts']} calls, at most {stats['busiest_minute']} in a minute, {stats['cost_usd']} USD.")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.fake_llm", description=__doc__)
    add = parser.add_argument
    add("--port", type=int, default=0, help="0 takes a free one (default)")
    add(
        "--control-port",
        type=int,
        default=0,
        help="/_fake/ is served here too, also while the port is closed",
    )
    add("--latency", type=float, default=0.0, metavar="S", help="seconds before each answer")
    add(
        "--errors",
        type=float,
        default=0.0,
        metavar="SHARE",
        help="share of calls that meet a trouble that passes",
    )
    add("--per-minute", type=int, metavar="N", help="calls admitted in any sliding minute; more get 429")
    add(
        "--misbehave",
        nargs="*",
        default=[],
        metavar="NAME",
        help="[format/]name[*times][@probability][~seconds], as in google/refusal@0.1; see --list",
    )
    add("--list", action="store_true", help="what each misbehaviour does")
    add(
        "--truth",
        type=Path,
        metavar="CSV",
        help="true scores, as the judge `simulated` reads them: sha256,score",
    )
    add("--discrimination", type=float, default=1.0, help="how sharply differences of true scores decide")
    add("--bias", type=float, default=0.0, metavar="LOGITS", help="preference for the essay shown first")
    add("--key", help="the only key that is right; without it none is asked for")
    add("--model", action="append", help="a name that is known, once for each; without it every name is")
    add("--seed", type=int, default=0)
    add(
        "--prices",
        nargs="+",
        type=Decimal,
        metavar="USD",
        help="a million tokens: input, output, cached, written",
    )
    add("--cache-minimum", type=int, default=1024, metavar="TOKENS", help="shorter prompts are not cached")
    add("--pace", type=float, default=1.0, metavar="S", help="seconds from byte to byte of slow_drip")
    return parser


if __name__ == "__main__":
    main()
