"""``python -m pyterrier_taskarith.cli``, where the command is not on the path."""

import sys

from pyterrier_taskarith.cli._main import main

sys.exit(main())
