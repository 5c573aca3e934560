"""What ``lpgd-native info`` prints; needs nothing but the package."""

from __future__ import annotations

import json

from lpgd_native._build_info import build_info

__all__ = ["info_text"]


def info_text(as_json: bool = False) -> str:
    """The build and the environment it runs in, as lines of name and value or as JSON."""
    facts = build_info()
    if as_json:
        return json.dumps(facts, indent=2, default=str)
    width = max(map(len, facts))
    return "\n".join(f"{name:<{width}}  {value}" for name, value in facts.items())
