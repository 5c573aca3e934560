"""Adapters: one module a package, each with `Peer`, the same small interface for all of them.

`Peer(threads, device, tau)`; `load(arrays)` turns a batch into what the package wants, untimed;
`run(method, batch, gradient)` is what is timed; `packages` names the distributions whose versions
are reported. The arrays are those of `problems`: with "P" QPs, without it assignment LPs.
Imports are dynamic: no environment holds all packages.
"""
