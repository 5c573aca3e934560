"""The licence of every package of constraints.txt that is installed here; runtime ones are checked."""  # noqa: E501

from __future__ import annotations

import re
import sys
from importlib import metadata
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
#: of what `pip install lpgd-native` brings without extras: none of these
REFUSED = re.compile(r"\b(A?GPL|SSPL|Commercial|Proprietary)\b", re.IGNORECASE)


def licence(package: str) -> str:
    """As its metadata says: the expression, else the classifiers, else the field's first line."""
    about = metadata.metadata(package)
    classes = [
        c.split(" :: ")[-1] for c in about.get_all("Classifier") or [] if c.startswith("License ::")
    ]
    field = (about["License"] or "").strip().splitlines()
    return (
        about["License-Expression"] or ", ".join(classes) or (field[0] if field else "not stated")
    )


def listed() -> dict[str, str]:
    """Package to licence, for all pins that are installed."""
    found = {}
    for line in (ROOT / "constraints.txt").read_text().splitlines():
        match = re.match(r"([\w.-]+)==", line)
        if match is None:
            continue
        try:
            found[match[1]] = licence(match[1])
        except metadata.PackageNotFoundError:
            continue
    return found


def runtime() -> set[str]:
    """What the package needs without extras, and what that needs in turn."""
    seen: set[str] = set()
    todo = ["torch", "numpy"]
    while todo:
        package = todo.pop()
        if package.lower() in seen:
            continue
        try:
            needs = metadata.requires(package) or []
        except metadata.PackageNotFoundError:
            continue
        seen.add(package.lower())
        todo += [re.match(r"[\w.-]+", n)[0] for n in needs if "extra ==" not in n]  # type: ignore[index]
    return seen


def main() -> None:
    """Print the list; fail where a runtime dependency may not be used freely."""
    found, needed = listed(), runtime()
    bad = {p: licence(p) for p in needed if REFUSED.search(licence(p).replace("LGPL", ""))}
    if "--table" in sys.argv:
        for package, text in sorted(found.items(), key=lambda item: item[0].lower()):
            print(f"| {package} | {text} | {'yes' if package.lower() in needed else ''} |")
    print(
        f"licences: {len(found)} pinned packages, {len(needed)} of them at run time "
        f"({', '.join(sorted(needed))}); not stated: "
        f"{sorted(p for p, text in found.items() if text == 'not stated')}"
    )
    if bad:
        sys.exit(f"licences: {bad}")


if __name__ == "__main__":
    main()
