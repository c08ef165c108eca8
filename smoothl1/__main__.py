"""``python -m smoothl1`` is the command ``smoothl1``."""

import sys

from smoothl1._evaluate.cli import script

if __name__ == "__main__":
    sys.exit(script())
