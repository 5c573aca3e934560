"""Who is measured: adapter, environment, and the gradient promised."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

BENCH = Path(__file__).resolve().parent
ENVIRONMENTS = {
    "main": Path(sys.executable),
    "peers": BENCH / ".venvs" / "peers" / "bin" / "python",
    "qpth": BENCH / ".venvs" / "qpth" / "bin" / "python",
}
INSTALL = "bash bench/setup_peers.sh"


@dataclass(frozen=True)
class Method:
    """A row of the tables: adapter module, environment, and which gradient it promises."""

    label: str
    module: str
    environment: str
    #: "implicit", or the envelope of LPGD: "lower", "upper", "average"
    gradient: str
    kinds: tuple[str, ...] = ("qp",)
    #: arguments whose gradient is known to be wrong: reported, not refused
    faults: tuple[str, ...] = ()


METHODS = {
    "ours-implicit": Method("lpgd_native, Implicit", "ours", "main", "implicit"),
    "ours-lpgd-lower": Method("lpgd_native, LPGD lower", "ours", "main", "lower"),
    "ours-lpgd-average": Method(
        "lpgd_native, LPGD average", "ours", "main", "average", ("qp", "lp")
    ),
    "qpth": Method("qpth, implicit", "qpth", "qpth", "implicit"),
    "proxsuite": Method("proxsuite QPLayer, implicit", "proxsuite", "peers", "implicit"),
    "moreau": Method("moreau, implicit", "moreau", "peers", "implicit", ("qp", "lp")),
    "moreau-lpgd": Method("moreau, LPGD by hand", "moreau", "peers", "average", ("lp",)),
    "diffcp-lpgd-average": Method(
        "diffcp LPGD", "diffcp", "peers", "average", ("qp", "lp"), ("P",)
    ),
    "diffcp-lpgd-lower": Method("diffcp LPGD right", "diffcp", "peers", "lower", faults=("P",)),
    "diffcp-lpgd-upper": Method("diffcp LPGD left", "diffcp", "peers", "upper", faults=("P",)),
    "highs": Method("HiGHS warm, LPGD by hand", "highs", "peers", "average", ("lp",)),
}
