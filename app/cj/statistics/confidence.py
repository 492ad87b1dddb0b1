"""What a judge's stated confidence is worth: levels, fitted by an ordinal link, used when they predict better."""

from dataclasses import dataclass

from app.cj.statistics import FloatArray


@dataclass(frozen=True, slots=True, eq=False)
class ConfidenceLevels:
    """How one judge's stated confidence is read.

    `bounds`: where stated confidence passes from one level to the next, ascending, shape (k - 1,) for k levels,
    at most five. `means`: the difference of scores, in logits, of which a verdict of each level speaks, shape
    (k,); empty when nothing was fitted. `used`: whether the scores rest on it; otherwise only on who won.
    `reason`: why it is used or not, in words for people. `gain`: out-of-fold log-loss saved per verdict, nats;
    NaN when not tried. `verdicts`: how many had a confidence and a winner.
    """

    bounds: FloatArray
    means: FloatArray
    used: bool
    reason: str
    gain: float
    verdicts: int
