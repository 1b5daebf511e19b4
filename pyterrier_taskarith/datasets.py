"""The former module of :func:`pyterrier_taskarith.data.open_dataset`."""

import warnings

from pyterrier_taskarith.data import open_dataset

__all__ = ["open_dataset"]

warnings.warn("pyterrier_taskarith.datasets is pyterrier_taskarith.data now", DeprecationWarning, stacklevel=2)
