"""One rehearsal from the first round to the last: choose, judge, fit, and compare with the truth."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from app.cj.statistics import FloatArray
from app.cj.statistics.bradley_terry import Fit, fit
from app.cj.statistics.correlation import kendall_tau_b, pearson
from app.cj.statistics.graph import islands
from app.cj.statistics.normal import TWO_SIDED_95
from app.cj.statistics.simulation.judging import JudgeProfile, Panel
from app.cj.statistics.simulation.policies import Policy, choose
from app.cj.statistics.stopping import LEAST_VERDICTS
from app.cj.statistics.verdicts import Verdicts

_IN_FLIGHT = 2  # as the planner: round k is chosen from what rounds up to k - 2 brought


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """What is rehearsed. `spread`: sd of the true scores, in logits; 1.8 makes a judge right 81 times in 100.

    `in_flight`: rounds under way at once. `position`, `slopes`, `levels`: what the fit may use.
    """

    items: int = 100
    spread: float = 1.8
    judges: tuple[JudgeProfile, ...] = (JudgeProfile(),)
    policy: Policy = Policy.OURS
    rounds: int = 20
    random_rounds: int = 4
    in_flight: int = _IN_FLIGHT
    position: bool = True
    slopes: bool = True
    levels: bool = True


@dataclass(frozen=True, slots=True, eq=False)
class Course:
    """How it went, one value a round, shape (rounds,).

    `per_item`: comparisons per item so far, 2 m / n. `r2`: squared correlation of fitted and true scores. `tau`:
    Kendall's tau-b with them. `reliability`: as the fit states it. `coverage`: share of the 95 % intervals that
    hold the truth, on the judges' scale. `ready`: every item has its least verdicts and all are connected.
    """

    per_item: FloatArray
    r2: FloatArray
    tau: FloatArray
    reliability: FloatArray
    coverage: FloatArray
    ready: FloatArray
    last: Fit
    verdicts: Verdicts
    truth: FloatArray

    def stop(self, target: float) -> int | None:
        """The round after which the product would stop for its reliability; None: it never would."""
        (found,) = np.nonzero((self.reliability >= target) & (self.ready > 0))
        return int(found[0]) if found.size else None


def rehearse(scene: Scene, seed: int | Sequence[int]) -> Course:
    """Run one scene. The truth depends on the seed and the items alone, so that policies meet the same items."""
    truth_rng, judge_rng, pair_rng = np.random.default_rng(seed).spawn(3)
    truth = scene.spread * truth_rng.standard_normal(scene.items)
    panel = Panel(truth, scene.judges, judge_rng)
    scale = float(np.prod([one.sharpness for one in scene.judges]) ** (1.0 / len(scene.judges)))
    planned = np.zeros((0, 2), dtype=np.int64)
    rounds: list[Verdicts] = []
    fits: list[Fit] = []
    rows: list[tuple[float, ...]] = []
    for number in range(scene.rounds):
        known = max(0, number + 1 - scene.in_flight)
        pairs = choose(
            scene.policy,
            items=scene.items,
            rounds_done=number,
            random_rounds=scene.random_rounds,
            scores=fits[known - 1].scores if known else None,
            known=_joined(rounds[:known]),
            planned=planned,
            rng=pair_rng,
        )
        if not len(pairs):
            break
        planned = np.concatenate((planned, pairs))
        rounds.append(panel.judge(pairs))
        so_far = _joined(rounds)
        fits.append(
            fit(
                so_far,
                scene.items,
                position=scene.position,
                slopes=scene.slopes,
                levels=scene.levels,
                start=fits[-1] if fits else None,
            )
        )
        rows.append(_measure(fits[-1], so_far, truth, scale))
    per_item, r2, tau, reliability, coverage, ready = (np.array(column) for column in zip(*rows, strict=True))
    return Course(
        per_item=per_item,
        r2=r2,
        tau=tau,
        reliability=reliability,
        coverage=coverage,
        ready=ready,
        last=fits[-1],
        verdicts=_joined(rounds),
        truth=truth,
    )


def _measure(fitted: Fit, verdicts: Verdicts, truth: FloatArray, scale: float) -> tuple[float, ...]:
    items = len(truth)
    error = np.abs(fitted.scores - scale * (truth - truth.mean()))
    least = min(LEAST_VERDICTS, items - 1)
    ready = verdicts.count(items).min() >= least and not islands(verdicts, items).any()
    return (
        2.0 * len(verdicts) / items,
        squared_correlation(fitted.scores, truth),
        kendall_tau_b(fitted.scores, truth),
        fitted.reliability,
        float(np.mean(error <= TWO_SIDED_95 * fitted.standard_errors)),
        float(ready),
    )


def squared_correlation(one: FloatArray, other: FloatArray) -> float:
    """Pearson's r squared; 0 when one side does not vary."""
    r = pearson(one, other)
    return 0.0 if math.isnan(r) else r**2


def _joined(rounds: Sequence[Verdicts]) -> Verdicts:
    if not rounds:
        return Verdicts.empty()
    names = ("first", "second", "outcome", "judge", "confidence")
    return Verdicts(*(np.concatenate([getattr(one, name) for one in rounds]) for name in names))
