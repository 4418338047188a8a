"""Agreement between the annotators of a labels file."""

from collections import Counter, defaultdict
from collections.abc import Iterable
from typing import NamedTuple

from pairbench.pool.labels import LABELS, Label
from pairbench.stats.agreement import krippendorff_alpha


class Agreement(NamedTuple):
    """Who answered, and how far annotators agree.

    Attributes:
        annotators: the number of annotators with a name.
        anonymous: the number of labels without annotator.
        ties: the number of ties.
        skips: the number of skips.
        shared: the number of questions that two or more annotators answered, skips aside.
        alpha: Krippendorff's α of first, second and tie as nominal values, skips left out; NaN if
            no question is shared or all shared answers are equal.
    """

    annotators: int
    anonymous: int
    ties: int
    skips: int
    shared: int
    alpha: float


def measure_agreement(labels: Iterable[Label]) -> Agreement:
    """Count annotators, ties and skips, and measure the agreement between annotators.

    Of several answers of one annotator to a question, the last one counts. Labels without
    annotator are taken for one annotator's, unless the tool's ids of the answers differ.
    """
    labels = list(labels)
    kinds = Counter(label.label for label in labels)
    answers: dict[str, dict[tuple[str | None, str | None], str]] = defaultdict(dict)
    for label in labels:
        if label.label != "skip":
            who = (label.annotator, None) if label.annotator else (None, label.source)
            answers[label.id][who] = label.label
    shared = [Counter(votes.values()) for votes in answers.values() if len(votes) > 1]
    values = [name for name in LABELS if name != "skip"]
    return Agreement(
        annotators=len({label.annotator for label in labels if label.annotator}),
        anonymous=sum(not label.annotator for label in labels),
        ties=kinds["tie"],
        skips=kinds["skip"],
        shared=len(shared),
        alpha=krippendorff_alpha([[count[name] for name in values] for count in shared])
        if shared
        else float("nan"),
    )
