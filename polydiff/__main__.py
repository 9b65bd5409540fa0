"""`python -m polydiff`."""

import sys

from polydiff.cli.main import main

sys.exit(main())
