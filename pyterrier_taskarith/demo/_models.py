"""The small real triple that the package carries."""

from pathlib import Path


def demo_models() -> dict[str, str]:
    """Returns the folders of Θ_T, Θ_D and Θ_0 by the names that TaskArithReranker gives them.

    Example:
        >>> TaskArithReranker(**demo_models(), alpha=0.8)  # doctest: +SKIP
    """
    folder = Path(__file__).parent / "models"
    return {name: str(folder / name) for name in ("ranker", "domain", "base")}
