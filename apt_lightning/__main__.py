"""``python -m apt_lightning`` is the ``apt`` command."""

import sys

from apt_lightning.cli import main

if __name__ == "__main__":
    sys.exit(main())
