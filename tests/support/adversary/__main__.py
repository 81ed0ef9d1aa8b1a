"""`python -m tests.support.adversary <behaviour> -- run --datadir …`: a daemon whose owner cheats."""

from __future__ import annotations

import sys

from node.cli.main import main
from tests.support.adversary import become

behaviour, dashes, *command = sys.argv[1:]
if dashes != "--":
    raise SystemExit(__doc__)
become(behaviour)
sys.exit(main(command))
