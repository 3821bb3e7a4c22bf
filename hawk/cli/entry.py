"""Entry: the `hawk` command from its first line on."""

import sys
from collections.abc import Sequence

from hawk.stop import stoppable


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; what stops it is said, also while it is still being imported."""
    with stoppable():
        from hawk.cli.app import app

        app(sys.argv[1:] if arguments is None else arguments)
