"""The console script ``lpgd-native``.

Exit status: 0 done, 1 a run that failed or items without a solution, 2 wrong usage.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Sequence

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command and return the exit status; errors are one line, unless ``--debug`` is given.

    Without typer (the extra ``cli``) there is ``info``, and how to install the rest.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    if importlib.util.find_spec("typer") is None:
        from lpgd_native.cli.bare import run_bare

        return run_bare(arguments)
    debug = "--debug" in arguments  # wherever it stands
    arguments = [word for word in arguments if word != "--debug"]
    try:
        from lpgd_native.cli.app import make_app

        make_app()(args=arguments, prog_name="lpgd-native")
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except KeyboardInterrupt:
        print("lpgd-native: interrupted", file=sys.stderr)
        return 130
    except Exception as error:
        if debug:
            raise
        print(f"lpgd-native: {error or type(error).__name__}", file=sys.stderr)
        return 1
    return 0
