"""The work of `python run.py rank`: run a whole house in a temporary folder until the batch ends."""

from __future__ import annotations

import math
import re
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from uuid import UUID

import anyio
import numpy as np
import punq
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from app.cj.analyses import Analyses
from app.cj.batch import BatchState, NewBatch
from app.cj.changes import Changes
from app.cj.essays import least_words
from app.cj.estimate import estimate, require_prices, unpriced
from app.cj.folder import Folder, read_folder
from app.cj.provider_client import ProviderClient
from app.cj.scoring_ranking import RankedEssay
from app.cj.statistics.correlation import kendall_tau_b
from app.cj.views import Comparison, Summary, Views, flagged
from app.cj.workflow import Workflow
from app.cli.options import say, settings_of, talk
from app.container import bootstrap, running
from app.contracts import ModelList
from app.errors import Conflict, InvalidRequest
from app.new_batches import batch_settings
from app.provider.status import Status
from app.settings import Settings
from app.web.quality import worked_out
from app.web.report import Ranked, judgements_csv, ranking_csv, ranking_json, report_html
from app.web.words import banners, cost, flag, most

LOOK_EVERY = 0.5


def run(
    paths: list[Path],
    *,
    question: str | None,
    config: Path | None,
    assignments: list[str],
    seed: int,
    budget: float | None,
    out: Path | None,
    as_json: bool,
) -> None:
    """Rank what is in `paths`, print it, write the four files, compare with intended levels when there are some."""
    if out is not None:
        _make(out)
    settings, _ = settings_of(config, assignments)
    least = least_words(batch_settings(settings).judges)
    folder = read_folder(paths, question=question, least_words=least)
    _say_remarks(folder)
    ranked = _run(folder, settings, seed=seed, budget=budget, title=paths[0].name)
    if as_json:
        sys.stdout.write(ranking_json(ranked))
    else:
        _print(ranked)
    if out is not None:
        _write(out, ranked)
    if folder.levels:
        _compare_with_levels(folder, ranked, config, assignments, seed=seed, budget=budget)


def _say_remarks(folder: Folder) -> None:
    """Name what is wrong per file before anything is spent."""
    for remark in folder.handed_in.remarks:
        say(f"{'not ranked' if remark.fatal else 'note'}: {remark.file} {remark.message}")
    if faults := folder.handed_in.faults:
        raise InvalidRequest(f"{len(faults)} of the files cannot be ranked as they are; nothing was judged.")
    if len(folder.essays) < 2:  # noqa: PLR2004 - a pair
        raise InvalidRequest(f"A ranking needs at least two essays; {len(folder.essays)} found.")
    where = f"from {folder.question_file}" if folder.question_file else "as given"
    say(f"{len(folder.essays)} essays; the question {where}: {folder.question.splitlines()[0]}")


def _run(
    folder: Folder, settings: Settings, *, seed: int, budget: float | None, title: str, quiet: bool = False
) -> Ranked:
    with tempfile.TemporaryDirectory(prefix="juxta-") as data:
        settings = settings.model_copy(update={"data": Path(data)})
        chosen = batch_settings(settings, seed=seed).model_copy(update={"budget_usd": budget})
        new = NewBatch(title=title, question=folder.question, essays=folder.essays, settings=chosen)
        return anyio.run(_judge, bootstrap(settings), new, quiet)


async def _judge(container: punq.Container, new: NewBatch, quiet: bool) -> Ranked:  # noqa: FBT001 - anyio.run passes positions
    # Before the house is opened: nothing is begun that cannot be done.
    async with container.resolve("model_client"):
        for judge in new.settings.judges:
            await container.resolve(Status).insist(judge)
    known = await container.resolve(ProviderClient).models()
    _look_at_the_money(known, new, quiet=quiet)
    no_price = bool(unpriced(new.settings.judges, known))
    async with running(container):
        views: Views = container.resolve(Views)
        batch_id = await container.resolve(Workflow).create(new, start=True)
        with Progress(
            TextColumn("judging"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]:.0f}/s · ETA"),
            TimeRemainingColumn(),
            TextColumn("· cost unknown" if no_price else "· {task.fields[cost]:.2f} USD"),
            console=talk,
            disable=quiet,
        ) as progress:
            await _follow(progress, views, container.resolve(Changes), batch_id)
        summary = await views.summary(batch_id)
        rows = await views.ranking(batch_id)
        comparisons: list[Comparison] = []
        while page := await views.comparisons(batch_id, after=len(comparisons)):
            comparisons += page
        quality = await worked_out(
            container.resolve(Analyses),
            summary,
            path=await views.fits(batch_id),
            flagged=flagged(comparisons),
            patience=math.inf,
        )
    if summary.batch.state is not BatchState.FINISHED:
        raise Conflict(
            f"No ranking: {_failures(summary) or summary.batch.problem or summary.batch.state}.",
            hint=_most_said(comparisons),
        )
    return Ranked(summary=summary, rows=rows, comparisons=comparisons, quality=quality, unpriced=no_price)


def _look_at_the_money(known: ModelList, new: NewBatch, *, quiet: bool) -> None:
    """Say what it may cost before anything is spent.

    :raises InvalidRequest: a budget that cannot be kept.
    """
    require_prices(new.settings, known)
    sizes = [len(essay.text.encode()) for essay in new.essays]
    found = estimate(sizes, len(new.question.encode()), new.settings, known)
    said = most(found.cost_usd, found.budget_usd)
    if said and not quiet:
        known_at_all = "" if found.cost_usd is None else ", if every answer filled all its room"
        say(f"at most {found.comparisons} comparisons; {said}{known_at_all}")


async def _follow(progress: Progress, views: Views, changes: Changes, batch_id: UUID) -> None:
    batch = await views.batch(batch_id)
    task = progress.add_task("", total=batch.most_verdicts, rate=0.0, cost=0.0)
    began = time.monotonic()
    while batch.state is BatchState.RUNNING:
        news = changes.listen(batch_id)
        with anyio.move_on_after(LOOK_EVERY):
            await news.wait()
            await anyio.sleep(LOOK_EVERY / 5)
        batch = await views.batch(batch_id)
        done = batch.decided + batch.failed
        progress.update(task, completed=done, rate=done / (time.monotonic() - began), cost=batch.cost_usd)
    progress.update(task, total=batch.decided + batch.failed)


def _failures(summary: Summary) -> str:
    return ", ".join(f"{count} comparisons failed: {code}" for code, count in summary.failures.items())


def _most_said(comparisons: Sequence[Comparison]) -> str:
    """What most failures say of themselves."""
    said = Counter(one.error_detail for one in comparisons if one.error_detail)
    return said.most_common(1)[0][0] if said else ""


def _print(ranked: Ranked) -> None:
    batch = ranked.summary.batch
    table = Table(title="Ranking", title_justify="left")
    for name, justify in (
        ("rank", "right"),
        ("essay", "left"),
        ("score", "right"),
        ("± SE", "right"),
        ("95 %", "left"),
        ("comparisons", "right"),
    ):
        table.add_column(name, justify=justify)  # type: ignore[arg-type]
    for row in ranked.rows:
        if row.score is None or row.se is None or row.low is None or row.high is None:
            cells = ("-", "-", "no verdict")
        else:
            cells = (f"{row.score:+.2f}", f"{row.se:.2f}", f"{row.low:+.2f} … {row.high:+.2f}")
        anchor = f" (anchor {row.level})" if row.level else ""
        table.add_row(str(row.rank), Text(f"{row.essay}{anchor}"), *cells, str(row.comparisons))
    from rich.console import Console  # noqa: PLC0415 - stdout as it is when the command runs

    Console().print(table)
    reliability = "none" if batch.reliability is None else f"{batch.reliability:.2f}"
    kinds = ", ".join(ranked.summary.judge_kinds) or "nobody"
    say(
        f"{batch.decided} comparisons by {kinds}; reliability {reliability} (empirical Bayes); {batch.stop_reason}"
    )
    if batch.cost_usd or ranked.unpriced:
        say(f"cost: {cost(batch, unpriced=ranked.unpriced)}")
    if ranked.summary.failures:
        say(_failures(ranked.summary))
    for one in flagged(ranked.comparisons):
        say(f"needs a human look: {one.essay} {'; '.join(map(flag, one.found))}")
    for _, sentence in banners(ranked.summary):
        say(sentence)


def _make(out: Path) -> None:
    """Make the folder before anything is judged, so that no result is lost for want of a place."""
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InvalidRequest(f"--out {out}: no folder can be made there ({error.strerror}).") from error


def _write(out: Path, ranked: Ranked) -> None:
    for name, content in (
        ("ranking.csv", ranking_csv(ranked)),
        ("ranking.json", ranking_json(ranked)),
        ("report.html", report_html(ranked)),
        ("judgements.csv", judgements_csv(ranked.comparisons, unpriced=ranked.unpriced)),
    ):
        (out / name).write_text(content, encoding="utf-8", newline="")
        say(f"wrote {out / name}")


def _compare_with_levels(
    folder: Folder, ranked: Ranked, config: Path | None, chosen: list[str], *, seed: int, budget: float | None
) -> None:
    """Print tau-b against the intended levels; for the rules judge also without its length term."""
    levels = _numbers(folder.levels)
    if len(levels) < 2:  # noqa: PLR2004 - a pair
        say("The levels in levels.csv are not numbers, so the ranking is not compared with them.")
        return
    with_length = _tau(levels, ranked.rows)
    if set(ranked.summary.judge_kinds) != {"rules"}:
        say(f"tau-b against the intended levels: {with_length:.2f}")
        return
    settings, _ = settings_of(config, [*chosen, "judges.rules.length_term=false"])
    without = _tau(
        levels,
        _run(folder, settings, seed=seed, budget=budget, title=ranked.summary.batch.title, quiet=True).rows,
    )
    say(
        f"tau-b against the intended levels: {with_length:.2f} with the judge's length term, {without:.2f} without it"
    )


def _tau(levels: dict[str, float], rows: Sequence[RankedEssay]) -> float:
    known = [(row.score, levels[row.essay]) for row in rows if row.essay in levels and row.score is not None]
    scores, wanted = np.array(known, dtype=np.float64).T
    return kendall_tau_b(scores, wanted)


def _numbers(levels: dict[str, str]) -> dict[str, float]:
    """Levels that are numbers, for only these have an order that is known here."""
    return {essay: float(level) for essay, level in levels.items() if re.fullmatch(r"-?\d+(\.\d+)?", level)}
