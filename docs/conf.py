"""Sphinx: `make docs` builds these pages into build/docs. Warnings are errors."""

from __future__ import annotations

import re
import tomllib
import warnings
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]

project = "lpgd_native"
version = release = PROJECT["version"]
author = copyright = "the lpgd_native authors"

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.autosummary",
    "sphinx.ext.intersphinx",
    "sphinx.ext.viewcode",
    "sphinx_copybutton",
    "sphinx_gallery.gen_gallery",
]
exclude_patterns = ["_build", "tutorials/*"]
myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 4
smartquotes = False  # x'Px keeps its prime, [..., n] its dots
highlight_language = "none"  # blocks without a language are formulas and schemas
default_role = "code"  # `x` in a docstring is a name, as in Markdown
intersphinx_mapping: dict[str, tuple[str, str | None]] = {}  # builds without a network

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
napoleon_numpy_docstring = False
napoleon_use_rtype = False
autosummary_generate = False

html_theme = "furo"
html_title = f"lpgd_native {release}"
html_static_path = ["_static"]
html_css_files = ["wide.css"]
html_copy_source = False
html_show_copyright = False

copybutton_exclude = ".linenos, .gp, .go"

sphinx_gallery_conf = {
    "examples_dirs": ["tutorials"],
    "gallery_dirs": ["auto_tutorials"],
    "filename_pattern": r"/plot_",
    "within_subsection_order": "FileNameSortKey",
    "download_all_examples": False,
    "remove_config_comments": True,
    "show_memory": False,
    "reset_modules": (),
    "abort_on_example_error": True,
    "capture_repr": (),  # what is printed is shown, not the last line's value
    "min_reported_time": 0,
}
suppress_warnings = ["config.cache"]  # functions in the gallery's settings
warnings.filterwarnings("ignore", category=UserWarning, message=".*non-interactive.*")

# Docstrings are plain text with the formulas of the field: |x|, x*, ||p||_1. To reStructuredText
# these are substitutions, emphasis and references; outside of literals they are escaped.
_LITERAL = re.compile(r"(``.+?``|`[^`]+`|:\w+:`[^`]+`)")
_MARKUP = re.compile(r"([|*]|(?<=\w)_(?!\w))")


def escape(lines: list[str]) -> list[str]:
    """The lines of a docstring with its formulas escaped, literal blocks left as they are."""
    result: list[str] = []
    literal_indent: int | None = None
    for line in lines:
        indent = len(line) - len(line.lstrip())
        if literal_indent is not None and line.strip() and indent <= literal_indent:
            literal_indent = None
        if literal_indent is None:
            parts = _LITERAL.split(line)
            parts[::2] = [_MARKUP.sub(r"\\\1", part) for part in parts[::2]]
            line = "".join(parts)
            if line.rstrip().endswith("::"):
                literal_indent = indent
        result.append(line)
    return result


def _escape_docstring(app, what, name, obj, options, lines):  # type: ignore[no-untyped-def]
    lines[:] = escape(lines)


def _link_pages(app, name, source):  # type: ignore[no-untyped-def]
    """Links to the files at the top, which work in the repository, to the pages that show them."""
    for page in ("CONTRIBUTING", "CHANGELOG", "SECURITY"):
        source[0] = source[0].replace(f"](../{page}.md)", f"](/{page.lower()}.md)")


def setup(app):  # type: ignore[no-untyped-def]
    """Escape before napoleon (priority 500) reads the sections."""
    app.connect("source-read", _link_pages)
    app.connect("autodoc-process-docstring", _escape_docstring, priority=400)
