"""The commands that studies bring to ``lpgd-native``: a name, and the module that has it.

A module has a function ``command``, whose parameters are the options (``typing.Annotated`` with
``typer.Option``), whose docstring is the help text and which returns the exit status. It is
imported when the command line is built, so what is heavy is imported inside the function. A new
study is its module and one line here.
"""

from __future__ import annotations

__all__ = ["COMMANDS", "STUDIES"]

STUDIES: dict[str, str] = {
    "deconvolution": "lpgd_native.experiments.deconvolution_command",
    "sudoku": "lpgd_native.experiments.sudoku_command",
    "pto": "lpgd_native.experiments.pto_command",
    "constraints": "lpgd_native.experiments.constraints_command",
    "digits": "lpgd_native.experiments.digits_command",
    "portfolio": "lpgd_native.experiments.portfolio_folds_command",
    "eit": "lpgd_native.experiments.eit_command",
}
"""``lpgd-native train <name>``"""

COMMANDS: dict[str, str] = {
    "demo": "lpgd_native.experiments.portfolio_command",
    "reconstruct": "lpgd_native.experiments.reconstruct_command",
}
"""``lpgd-native <name>``"""
