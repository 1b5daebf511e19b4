"""The check that methods share."""

import math
import numbers

from pyterrier_taskarith.errors import MergeError


def check_share(name: str, value: object, *, above: float | None = None, below: float | None = None,
                least: float | None = None, most: float | None = None) -> None:
    """Refuses a share of weights that is out of range.

    Raises:
        MergeError: Naming the argument and its range.
    """
    number = float(value) if isinstance(value, numbers.Real) and not isinstance(value, bool) else math.nan
    if not (math.isfinite(number) and (above is None or number > above) and (below is None or number < below)
            and (least is None or number >= least) and (most is None or number <= most)):
        low = f"above {above:g}" if above is not None else f"at least {least or 0:g}"
        high = f"below {below:g}" if below is not None else f"at most {most if most is not None else 1:g}"
        raise MergeError(f"{name}={value!r}: must be a number {low} and {high}")
