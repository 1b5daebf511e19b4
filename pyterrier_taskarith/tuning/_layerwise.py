"""α by layers, chosen by coordinate steps on a development set."""

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pyterrier as pt
from ir_measures import Measure

from pyterrier_taskarith.arithmetic import as_alpha
from pyterrier_taskarith.errors import TaskArithError
from pyterrier_taskarith.evaluation import MEAN_TOLERANCE, highest
from pyterrier_taskarith.fusion import Mix
from pyterrier_taskarith.reranker import TaskArithReranker
from pyterrier_taskarith.tuning._development import Frames, developments
from pyterrier_taskarith.tuning._groups import Groups, LayerGroups, layer_groups
from pyterrier_taskarith.tuning._sweep import Rows, check_reranker, checked_weights, numbers_of, resuming, scored
from pyterrier_taskarith.tuning._tune import counted

#: Values of α for each group. Fewer than a sweep's: every one costs a scoring for each group, and is one more chance to
#: fit the development set's noise.
LAYER_ALPHAS: tuple[float, ...] = (0.0, 0.25, 0.5, 0.75, 1.0)
BEST = "best"
#: α of what is in no group, then of each group.
LayerSetting = tuple[float, ...]


@dataclass(frozen=True)
class TunedLayers:
    """What tuning by layers chose, and why.

    Attributes:
        alpha: The chosen α by layers, as a re-ranker takes it: ``{"default": 0.5, "embeddings": 0.5, "0-3": 0.75, …}``,
            or a number where it is the same everywhere; by vector, where they are not added to the same layers.
        weight: The weight of the re-ranker in the mix; given, not tuned.
        measure: The label of the measure.
        value: Its mean at the chosen α, on the development set, or on average over several.
        reranker: The re-ranker at the chosen α; it shares its model with the one that was tuned.
        evidence: Every setting that was scored, in that order: round (0: one α for all layers, or the start), group
            (whose α was changed), ``alpha.default`` and ``alpha.GROUP`` for each group, weight, measure, value. With
            several development sets a column ``collection`` comes first, and rows named "average" hold the mean.
        start: The setting that the steps started from, as ``alpha``.
        start_value: Its mean.
    """

    alpha: Any
    weight: float
    measure: str
    value: float
    reranker: TaskArithReranker
    evidence: pd.DataFrame
    start: Any
    start_value: float

    @property
    def scorings(self) -> int:
        """How many settings were scored, each once."""
        return len(counted(self.evidence))

    @property
    def mix(self) -> Mix:
        """The fusion at the weight, to put behind the first stage."""
        return Mix(self.reranker, weight=self.weight)

    def __str__(self) -> str:
        sets = self.evidence["collection"].nunique() - 1 if "collection" in self.evidence.columns else 1
        on = "one development set" if sets == 1 else f"{sets} development sets"
        average = f" on average over {on}" if "collection" in self.evidence.columns else ""
        return (f"α = {self.alpha}, weight = {self.weight:g}: {self.measure} {self.value:.4f}{average}; started from "
                f"{self.start} with {self.start_value:.4f}. Chosen among {self.scorings} settings, each scored once: "
                f"that many choices on {on} can fit what is particular to these queries, and some or all of the gain "
                "may be gone on others. Compare on held-out queries before you use it.")


def tune_layers(reranker: TaskArithReranker, run: Frames, qrels: Frames, *, groups: Groups = "thirds",
                alphas: Sequence[float] = LAYER_ALPHAS, weight: float = 1.0, measure: str | Measure = "nDCG@10",
                start: Any = BEST, rounds: int = 3, topics: Frames | None = None,
                resume: str | Path | None = None, verbose: bool = True) -> TunedLayers:
    """Chooses α for each group of layers by coordinate steps, for the highest mean of a measure.

    From the best α for all layers on, each group in turn, from the top of the model down, tries the other values while
    the others stay. A step is taken only where it raises the mean (of equal means the present value stays; of several
    that raise it equally, the smallest |α| is taken). It ends when a whole round changes nothing. No setting is scored
    twice. Where it ends no change of one group is better; a change of two at once may be.

    It can overfit: with g groups and k values, a round makes g·(k − 1) comparisons on the same queries, and picks
    what was best there, partly by chance. The value it returns is therefore too high for other queries. Use few
    groups and values, many queries, and look at held-out ones (:func:`line_up`, :func:`compare`) before you prefer it
    to one α.

    Args:
        reranker: The re-ranker to tune; its own α is left as it is. With several vectors, a group's α holds for all.
        run: The first stage's results on the development queries; of several sets a dict, see :func:`sweep`. The
            average over the sets is then what counts, each set the same.
        qrels: Their judgements.
        groups: As in :func:`ablate`. What is in no group keeps the α it starts with.
        alphas: Values of α for each group.
        weight: Weight of the re-ranker in the mix; 1 is the re-ranker alone.
        measure: What to maximise.
        start: "best": the best single value of ``alphas``, each scored once (ties: the smallest |α|). Or an α to start
            from, a number or by layers, such as ``reranker.alpha``.
        rounds: How many times to go through all groups at most.
        topics: The queries that were asked; see :func:`sweep`.
        resume: A file to keep scores in, see :func:`sweep`.
        verbose: Whether to show progress.

    Raises:
        TypeError: If the re-ranker, the run or the values are something else.
        ValueError: If groups or start are unknown, a group has no merged parameter, ``rounds`` is not a whole number
            of at least 1; and as :func:`sweep`.
    """
    check_reranker(reranker, "tune_layers takes")
    if reranker.variant != "merged":
        raise TaskArithError(f"α does nothing to variant={reranker.variant!r}: give the merged re-ranker, Θ'")
    if not isinstance(rounds, int) or isinstance(rounds, bool) or rounds < 1:
        raise TaskArithError(f"rounds={rounds!r}: must be a whole number of at least 1")
    values, weight = numbers_of(alphas, "alphas"), checked_weights([weight])[0]
    parts = layer_groups(reranker, groups)
    given = None if isinstance(start, str) and start == BEST else parts.values(as_alpha(start, "start"))
    sets = developments(run, qrels, topics, measure, reranker.columns)
    labels = list(next(iter(sets.values())).labels.values())
    if len(labels) > 1:
        raise TaskArithError(f"measure={measure!r} stands for {labels}: give one")

    def score(settings: list[LayerSetting]) -> Iterator[Rows]:
        """Yields the rows of each setting."""
        for setting in settings:
            yield scored(reranker.copy(alpha=_alpha(parts, setting)), sets, [weight], False)

    with resuming(reranker, resume), pt.tqdm(desc="α by layers", unit="setting", disable=not verbose) as bar:
        search = _Search(parts, values, score, bar.update)
        began = chosen = search.single() if given is None else search.given(given)
        for number in range(1, rounds + 1):
            before = chosen
            for index in parts.from_the_top:
                chosen = search.step(chosen, number, index)
            if chosen == before:
                break
    alpha = _alpha(parts, chosen)
    return TunedLayers(alpha, weight, labels[0], search.means[chosen], reranker.copy(alpha=alpha),
                       search.evidence("" not in sets), _alpha(parts, began), search.means[began])


class _Search:
    """Coordinate steps, and what they saw.

    Attributes:
        means: LayerSetting -> its mean, of all that were scored.
    """

    def __init__(self, parts: LayerGroups, alphas: list[float],
                 score: Callable[[list[LayerSetting]], Iterator[Rows]],
                 advance: Callable[[], object]) -> None:
        self._parts, self._alphas, self._score, self._advance = parts, alphas, score, advance
        self.means: dict[LayerSetting, float] = {}
        self._rows: list[list[object]] = []

    def single(self) -> LayerSetting:
        """Returns the best α for all layers."""
        settings = [(alpha,) * (1 + len(self._parts.groups)) for alpha in self._alphas]
        self._see(settings, 0, "")
        return self._best(settings)

    def given(self, setting: LayerSetting) -> LayerSetting:
        """Looks at the setting to start from."""
        self._see([setting], 0, "")
        return setting

    def step(self, present: LayerSetting, number: int, index: int) -> LayerSetting:
        """Returns the best setting that differs in one group's α at most."""
        group = self._parts.groups[index]
        others = [(*present[:index + 1], alpha, *present[index + 2:]) for alpha in self._alphas
                  if alpha != present[index + 1]]
        if not others:
            return present
        self._see(others, number, group.label)
        best = self._best(others)
        return best if self.means[best] > self.means[present] + MEAN_TOLERANCE else present

    def _best(self, settings: list[LayerSetting]) -> LayerSetting:
        equal = itertools.compress(settings, highest([self.means[setting] for setting in settings]))
        return min(equal, key=lambda setting: sum(map(abs, setting)))

    def _see(self, settings: list[LayerSetting], number: int, label: str) -> None:
        new = [setting for setting in settings if setting not in self.means]
        for setting, rows in zip(new, self._score(new), strict=True):
            # Of several sets their average comes last.
            self.means[setting] = float(rows[-1][-1])
            self._rows += [[*row[:-3], number, label, *setting, *row[-3:]] for row in rows]
            self._advance()

    def evidence(self, several: bool) -> pd.DataFrame:
        """Returns every setting that was scored."""
        labels = ["default", *(group.label for group in self._parts.groups)]
        return pd.DataFrame(self._rows, columns=[*(["collection"] if several else []), "round", "group",
                                                 *(f"alpha.{label}" for label in labels), "weight", "measure", "value"])


def _alpha(parts: LayerGroups, setting: LayerSetting) -> Any:
    return parts.alpha(dict.fromkeys(parts.vectors, setting))
