"""The one error of this room."""


class MergeError(ValueError):
    """Weights cannot be combined as asked: the message names the tensors and says what to do."""
