"""fastprox in its own Python (3.12 or newer): answers and times over a pipe, arrays in files."""

from __future__ import annotations

import json
import sys
import time

import fastprox
import numpy as np

THREADS = int(sys.argv[1])


def operator(name, parameters):
    makers = {
        "prox_l1": lambda w: fastprox.Soft(w),
        "prox_huber": lambda w, d: fastprox.Huber(w * d, d),
        "prox_elastic_net": lambda a, b: fastprox.ElasticNet(a, b),
        "prox_mcp": lambda w, g: fastprox.MCP(w, g),
        "prox_log_barrier": lambda w: fastprox.LogBarrier(w),
        "project_nonnegative": lambda: fastprox.NonNeg(),
        "project_simplex": lambda r: fastprox.Simplex(r),
        "project_l1_ball": lambda r: fastprox.L1Ball(r),
        "project_l2_ball": lambda r: fastprox.L2Ball(r),
        "prox_linf": lambda w: fastprox.LInf(w),
        "prox_max": lambda w: fastprox.Max(w),
        "prox_total_variation": lambda w: fastprox.TV1D(w),
        "project_isotonic": lambda: fastprox.Isotonic(),
        "prox_sorted_l1": lambda w: fastprox.SortedL1(np.asarray(w)),
        "project_second_order_cone": lambda: fastprox.SOC(),
        "prox_nuclear": lambda w: fastprox.NuclearNorm(w),
    }
    return makers[name](*parameters)


def main():
    print(json.dumps({"version": "1.0.1", "python": sys.version.split()[0]}), flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        try:
            if request["op"] == "load":
                x = np.load(request["x"])
                g = np.load(request["g"])
                op = operator(request["name"], request["parameters"])
                z, ctx = op.prox(x, threads=THREADS, keep=True)
                pulled, _ = op.vjp(ctx, g)
                np.save(request["z"], z)
                np.save(request["pulled"], pulled)
                reply = {}
            else:
                times = []
                for _ in range(request["calls"]):
                    start = time.perf_counter()
                    if request["op"] == "forward":
                        op.prox(x, threads=THREADS)
                    else:
                        op.vjp(ctx, g)
                    times.append(time.perf_counter() - start)
                reply = {"times": times}
        except Exception as error:
            reply = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(reply), flush=True)


if __name__ == "__main__":
    main()
