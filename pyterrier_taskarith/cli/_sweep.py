"""x."""
from pyterrier_taskarith.cli._models import Commands


def add_to(commands: Commands) -> None:
    """X."""
