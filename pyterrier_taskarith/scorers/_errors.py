"""The one error of this room."""


class ScorerError(ValueError):
    """Text cannot be scored as asked: the message says what is missing and what to do."""
