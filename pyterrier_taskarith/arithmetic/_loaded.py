"""The weights of a loaded module, set to Θ_0, Θ_D, Θ_T or Θ' in place."""

import logging
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial

import torch

from pyterrier_taskarith._parallel import run_parallel
from pyterrier_taskarith.arithmetic._addition import Step
from pyterrier_taskarith.arithmetic._alphas import Alpha, as_alpha, is_zero
from pyterrier_taskarith.arithmetic._difference import CheckpointDifference, check_finite
from pyterrier_taskarith.arithmetic._pieces import OutputTensor, all_finite, output_tensor
from pyterrier_taskarith.arithmetic._plan import MergePlan
from pyterrier_taskarith.arithmetic._tensors import OpenFiles
from pyterrier_taskarith.checkpoints import Checkpoint, RowMatch, match_rows
from pyterrier_taskarith.errors import MergeError
from pyterrier_taskarith.families import canonical, family_of, ties_embeddings

logger = logging.getLogger("pyterrier_taskarith")

#: Rows of a matrix that are copied at a time.
ROWS = 1024


@dataclass(frozen=True)
class WeightSetting:
    """Which weights: Θ' with an α for each vector, or one of the models that it comes from.

    Attributes:
        variant: "merged", "ranker", or "domain" and "base", followed by ``.name`` with several vectors.
        alphas: (vector, α or α by layers), used by "merged" alone.
    """

    variant: str = "merged"
    alphas: tuple[tuple[str, Alpha], ...] = ()

    @property
    def normal(self) -> "WeightSetting":
        """The same weights under one name: Θ' at α = 0 is Θ_T."""
        alphas = tuple((name, alpha) for name, alpha in self.alphas if not is_zero(alpha))
        if self.variant == "merged" and alphas:
            return WeightSetting("merged", alphas)
        return WeightSetting("ranker" if self.variant == "merged" else self.variant)


@dataclass
class LoadedWeights:
    """A module whose parameters are set in place, always from pristine weights.

    Attributes:
        module: Its parameters are named as the family's, with or without a head model's prefix.
        plan: What a merge does to each parameter.
        weights: "memory" keeps Θ_T and τ in float32 beside the module; "disk" reads the files at each change.
        switches: How many times the weights were set.
        current: The setting that the module has now.
    """

    module: torch.nn.Module
    plan: MergePlan
    weights: str
    switches: int = 0
    current: WeightSetting | None = None
    _kept: dict[str, torch.Tensor] = field(default_factory=dict)
    _taus: dict[tuple[int, str], torch.Tensor] = field(default_factory=dict)
    _lock: threading.RLock = field(default_factory=threading.RLock)

    def __post_init__(self) -> None:
        config = self.plan.ranker.config
        family, tied = family_of(str(config["model_type"])), ties_embeddings(config)
        self._parameters = {canonical(name, family, tied): parameter
                            for name, parameter in self.module.named_parameters()}
        self._check()
        self.plan.check_nonzero(self._parameters)
        if self.weights == "memory":
            for name, parameter in self._parameters.items():
                self._kept[name] = self._read_ranker(name).to(parameter.device, torch.float32, copy=True)
                for position, (_, term) in enumerate(self.plan.terms(name)):
                    self._taus[position, name] = term.tensor(name).to(parameter.device)
        self.plan.close()

    def _check(self) -> None:
        shapes = self.plan.ranker.shapes
        absent = [name for name in self._parameters if name not in shapes]
        if absent:
            raise MergeError(f"Θ_T {self.plan.ranker.source!r} lacks {len(absent)} parameter{'s' * (len(absent) > 1)} "
                             f"of {type(self.module).__name__}: {', '.join(absent[:5])}. Is it the model for this "
                             "scorer?")
        differ = [f"{name} {list(parameter.shape)} and {list(shapes[name])}"
                  for name, parameter in self._parameters.items() if tuple(parameter.shape) != shapes[name]]
        if differ:
            raise MergeError(f"Θ_T {self.plan.ranker.source!r} and its config.json disagree in shape: {differ[:5]}")
        unused = sorted(self.plan.merged - set(self._parameters))
        if unused:
            logger.info("merged but not used for scoring: %s", ", ".join(unused))

    def set(self, setting: WeightSetting) -> None:
        """Sets the module's weights; nothing happens where it has them already.

        Raises:
            MergeError: If a checkpoint lacks what the variant needs or holds NaN or infinity, or the setting has an α
                that is not finite or is of no vector of the plan.
        """
        for name, alpha in setting.alphas:
            if name not in self.plan.vectors:
                raise MergeError(f"α of {name!r} is {alpha}, but the vectors are {', '.join(self.plan.vectors)}")
            as_alpha(alpha, name)
        self.plan.check_alphas(dict(setting.alphas))
        setting = setting.normal
        with self._lock, torch.no_grad():
            if setting == self.current:
                return
            self.current = None
            kind, _, vector = setting.variant.partition(".")
            if kind in ("merged", "ranker"):
                self._set_merged(dict(setting.alphas))
            else:
                self._set_checkpoint(self._checkpoint(kind, vector), {"base": "Θ_0", "domain": "Θ_D"}[kind])
            self.plan.close()
            self.current = setting
            self.switches += 1

    def renew(self) -> None:
        """Lets a forked child set the weights, which another thread of the parent may have been changing."""
        self._lock = threading.RLock()
        self.current = None

    def _set_merged(self, alphas: Mapping[str, Alpha]) -> None:
        names = list(self._parameters)
        if self.weights == "disk":
            names = stream(self.plan.ranker, self._parameters, lambda name: self.plan.steps(name, alphas))
        for name in names:
            parameter = self._parameters[name]
            value = self._kept[name] if name in self._kept else self._read_ranker(name)
            steps = self.plan.steps(name, alphas)
            if not steps:
                parameter.data.copy_(value)
                continue
            value = value.to(parameter.device, torch.float32)
            out = parameter.data if parameter.dtype == torch.float32 else torch.empty_like(value)
            for step in steps:
                tau = self._taus.get((step.position, name))
                if tau is None:
                    tau = step.term.tensor(name).to(parameter.device)
                step.add(value, tau, out=out)
                value = out
            if out is not parameter.data:
                parameter.data.copy_(out)

    def _set_checkpoint(self, checkpoint: Checkpoint, label: str) -> None:
        """Sets Θ_0 or Θ_D; a head it lacks stays Θ_T's, and so do rows of tokens it lacks."""
        ranker = self.plan.ranker
        family = family_of(str(ranker.config["model_type"]))
        rows = None
        if family.embedding in ranker.shapes and family.embedding in checkpoint.shapes:
            rows = match_rows(ranker.vocabulary, checkpoint.vocabulary, ranker.shapes[family.embedding][0],
                              checkpoint.shapes[family.embedding][0], us=f"Θ_T {ranker.source!r}",
                              them=f"{label} {checkpoint.source!r}")
        borrowed = [name for name in self._parameters if name not in checkpoint.shapes]
        by_token = () if rows is None else tuple(name for name in (family.embedding, *family.token_rows)
                                                 if name in self._parameters and name in checkpoint.shapes)
        self._set_ranker([*borrowed, *by_token])
        if rows is not None:
            for name in by_token:
                self._copy_rows(self._parameters[name].data, self._finite(checkpoint, name, label), rows)
        taken = [name for name in self._parameters if name not in borrowed and name not in by_token]
        for name in stream(checkpoint, {name: self._parameters[name] for name in taken}):
            self._parameters[name].data.copy_(self._finite(checkpoint, name, label))
        checkpoint.close()
        if borrowed:
            logger.warning("%s %r has no %s: scored with Θ_T's", label, checkpoint.source, ", ".join(borrowed))

    def _set_ranker(self, names: list[str]) -> None:
        """Sets some parameters to Θ_T's."""
        if self.weights == "disk":
            names = stream(self.plan.ranker, {name: self._parameters[name] for name in names})
        for name in names:
            self._parameters[name].data.copy_(self._kept[name] if name in self._kept else self._read_ranker(name))

    @staticmethod
    def _copy_rows(target: torch.Tensor, value: torch.Tensor, match: RowMatch) -> None:
        for start in range(0, len(match.ours), ROWS):
            part = slice(start, start + ROWS)
            picked = value[torch.from_numpy(match.theirs[part])].to(target.device, target.dtype)
            target[torch.from_numpy(match.ours[part]).to(target.device)] = picked

    def _checkpoint(self, kind: str, vector: str) -> Checkpoint:
        name = vector or next(iter(self.plan.vectors))
        difference = self.plan.vectors[name].difference
        if not isinstance(difference, CheckpointDifference):
            raise MergeError(f"the vector {name!r} is not a plain Θ_D − Θ_0, so there is no {kind} model to score with")
        return difference.domain if kind == "domain" else difference.base

    def _read_ranker(self, name: str) -> torch.Tensor:
        return self._finite(self.plan.ranker, name, "Θ_T")

    @staticmethod
    def _finite(checkpoint: Checkpoint, name: str, label: str) -> torch.Tensor:
        value = checkpoint.tensor(name)
        check_finite(value, name, f"{label} {checkpoint.source!r}")
        return value


def stream(checkpoint: Checkpoint, parameters: Mapping[str, torch.Tensor],
           steps: Callable[[str], list[Step]] = lambda name: []) -> list[str]:
    """Sets parameters to a checkpoint's values with a merge's steps added, in float32, rounded once.

    Args:
        checkpoint: Θ_T, or any other whose values are wanted.
        parameters: Canonical name -> tensor to fill, of any dtype and on any device.
        steps: What is added to a parameter, in order.

    Returns:
        The names that are not set: what must be computed on whole tensors, what has a value that is not finite, and
        what has another shape.
    """
    left: dict[str, None] = {}
    with OpenFiles() as files:
        sums: list[tuple[str, OutputTensor]] = []
        for name, parameter in parameters.items():
            added = steps(name)
            wanted = output_tensor(checkpoint, name, added, torch.float32 if added else checkpoint.dtype(name),
                                   files.parameter)
            if wanted is not None and parameter.is_contiguous() and tuple(parameter.shape) == checkpoint.shapes[name]:
                sums.append((name, wanted))
            else:
                left[name] = None

        def set_piece(name: str, wanted: OutputTensor, start: int, count: int) -> None:
            made = wanted.compute(start, count)
            if not all_finite(made):
                left[name] = None
            parameters[name].detach().view(-1)[start:start + count].copy_(made)

        def jobs() -> Iterator[Callable[[], None]]:
            for name, wanted in sums:
                for start, count in wanted.pieces():
                    yield partial(set_piece, name, wanted, start, count)

        run_parallel(jobs())
    return list(left)
