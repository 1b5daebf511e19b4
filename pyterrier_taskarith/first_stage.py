"""The former module of :func:`pyterrier_taskarith.terrier.first_stage`."""

import warnings

from pyterrier_taskarith.terrier import first_stage

__all__ = ["first_stage"]

warnings.warn("pyterrier_taskarith.first_stage is pyterrier_taskarith.terrier now", DeprecationWarning, stacklevel=2)
