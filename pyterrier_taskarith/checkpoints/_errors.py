"""The one error of this room."""


class CheckpointError(ValueError):
    """A checkpoint cannot be read as one: the message names the file or tensor and says what to do."""
