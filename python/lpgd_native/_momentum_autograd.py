"""Autograd of the recurrent momentum: a Function for each form, and the deferred weight gradients
of an unrolled network.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from lpgd_native._momentum_ops import (
    GRADIENT_BATCH,
    SAVED_BATCH,
    STATE_BATCH,
    WEIGHT_GRADIENTS,
    map_joined,
    op,
)

__all__ = ["Tape", "coordinate", "dense"]

Weights = tuple[Tensor, ...]


def dense(
    cell: str, form: str, gradient: Tensor, h: Tensor, c: Tensor | None, weights: Weights
) -> tuple[Tensor, Tensor, Tensor]:
    """(v, states) after a step, or of all steps of a sequence."""
    out: tuple[Tensor, ...] = _chosen(_DENSE).apply(cell, form, gradient, h, c, *weights)
    return out[0], out[1], out[2]


def coordinate(
    cell: str, gradient: Tensor, h: Tensor, c: Tensor | None, weights: Weights
) -> tuple[Tensor, Tensor, Tensor]:
    """(v, states) after a step of the per-coordinate form."""
    out: tuple[Tensor, ...] = _chosen(_COORDINATE).apply(cell, gradient, h, c, *weights)
    return out[0], out[1], out[2]


def _chosen(functions: tuple[Any, Any, Any]) -> Any:
    """The form of a Function for what is going on: plain, torch.func, torch.compile.

    The plain one has its context in forward: with setup_context torch binds the arguments to a
    signature at every call, which takes longer than a step of a small network.
    """
    plain, transformed, compiled = functions
    if torch.compiler.is_compiling():
        return compiled
    return transformed if torch._C._are_functorch_transforms_active() else plain


def _no_jvp(name: str) -> NotImplementedError:
    return NotImplementedError(
        f"{name} has no forward-mode derivative: use lpgd_native.reference.{name}, plain torch"
    )


def _contiguous(*tensors: Tensor | None) -> list[Tensor | None]:
    return [None if t is None else t.contiguous() for t in tensors]


class _Raw(torch.autograd.Function):
    """A backward op as a Function, so that a second derivative says what it is (not there)."""

    @staticmethod
    def forward(cell: str, form: str, *args: Any) -> tuple[Tensor, ...]:
        arguments, weights = _split_weights(form, args)
        out: tuple[Tensor, ...] = op(cell, form, True)(*arguments[0], weights, *arguments[1])
        return out

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        ctx.name = f"{inputs[0]}_momentum_{inputs[1]}"

    @staticmethod
    def vmap(info: Any, in_dims: Any, cell: str, form: str, *args: Any) -> Any:
        g, s, saved = GRADIENT_BATCH[form], STATE_BATCH[form], SAVED_BATCH[form]
        where: list[int | None]
        out: list[int | None]
        if form == "coordinate":
            where, out = [0, s, s, g, s, s], [0, s, s, None]
        else:
            where, out = [None, 0, s, s, s, s, saved, saved, saved], [g, s, s, saved]
        where += [None] * (len(args) - len(where))

        def call(*values: Any) -> tuple[Tensor, ...]:
            return _Raw.apply(cell, form, *values)  # type: ignore[no-any-return, no-untyped-call]

        return map_joined(call, info, in_dims[2:], args, where, out)

    @staticmethod
    def backward(ctx: Any, *_: Any) -> Any:
        raise NotImplementedError(
            f"{ctx.name}: the gradient can't be differentiated again (no double backward); "
            f"use lpgd_native.reference, plain torch"
        )

    @staticmethod
    def jvp(ctx: Any, *_: Any) -> Any:
        raise NotImplementedError(f"{ctx.name}: the gradient has no forward-mode derivative")


def _split_weights(form: str, args: tuple[Any, ...]) -> tuple[tuple[Any, Any], list[Tensor]]:
    if form == "coordinate":
        return (args[:6], ()), list(args[6:])
    return (args[1:9], args[:1]), list(args[9:])


def _backward_op(cell: str, form: str, *args: Any) -> tuple[Tensor, ...]:
    """lpgd::..._backward; `args` as _Raw takes them: (dense: wants_gradient,) tensors, weights."""
    if torch.is_grad_enabled() and not torch.compiler.is_compiling():
        out: tuple[Tensor, ...] = _Raw.apply(cell, form, *args)  # type: ignore[no-untyped-call]
        return out
    arguments, weights = _split_weights(form, args)
    result: tuple[Tensor, ...] = op(cell, form, True)(*arguments[0], weights, *arguments[1])
    return result


def _hidden_part(cell: str, d: Tensor, hidden: int) -> Tensor:
    """Columns of the gates' gradients that W_hh h has a part in."""
    if cell == "lstm":
        return d
    return torch.cat([d[..., : 2 * hidden], d[..., 3 * hidden :]], dim=-1)


@dataclass(frozen=True)
class _Seen:
    """What some steps saw: of each, x [B, n]; before, after [L, B, H], the states around it;
    d_gates [L, B, 4 H]; d_v [B, m], None where there is no gradient.
    """

    x: list[Tensor]
    before: list[Tensor]
    after: list[Tensor]
    d_gates: list[Tensor]
    d_v: list[Tensor | None]

    def add(self, cell: str, totals: list[Tensor], fresh: bool) -> None:
        """Add the gradients of all weights to these, or (fresh) write them."""
        x = self.x[0]
        if x.is_cpu and x.dtype == totals[0].dtype == self.d_gates[0].dtype:
            none = x.new_empty(0)
            WEIGHT_GRADIENTS[cell](
                [t.contiguous() for t in self.x],
                self.before,
                self.after,
                [t.contiguous() for t in self.d_gates],
                [none if t is None else t.contiguous() for t in self.d_v],
                totals,
                not fresh,
            )
            return
        for total, own in zip(totals, self.products(cell), strict=True):
            new = torch.zeros_like(total) if own is None else own
            if fresh:
                total.copy_(new)
            else:
                total.add_(new)

    def products(self, cell: str) -> list[Tensor | None]:
        """The same in torch's functions, each by itself."""
        given = [t for t in self.d_v if t is not None]
        d_v = [torch.zeros_like(given[0]) if t is None else t for t in self.d_v] if given else []
        return _products(
            cell,
            _joined(self.x, 0),
            _joined(self.before, 1),
            _joined(self.after, 1),
            _joined(self.after, 1),
            _joined(self.d_gates, 1),
            _joined(d_v, 0) if given else None,
        )


def _parts(total: Tensor, shapes: Sequence[torch.Size]) -> list[Tensor]:
    parts = torch.split(total, [shape.numel() for shape in shapes])
    return [part.view(shape) for part, shape in zip(parts, shapes, strict=True)]


def _eager() -> bool:
    """No transform is looking on, and no derivative of this one is wanted."""
    return not (
        torch.is_grad_enabled()
        or torch.compiler.is_compiling()
        or torch._C._are_functorch_transforms_active()
    )


def _joined(tensors: list[Tensor], dim: int) -> Tensor:
    return tensors[0] if len(tensors) == 1 else torch.cat(tensors, dim)


def _products(
    cell: str,
    x: Tensor,
    before: Tensor,
    after: Tensor,
    last: Tensor,
    d_gates: Tensor,
    d_v: Tensor | None,
) -> list[Tensor | None]:
    """Of all weights. x [R, n]; before, after [L, R, H] the states around each step; d_gates
    [L, R, 4 H]; last [L, B, H] the states that d_v [B, m] came through.
    """
    hidden = before.shape[-1]
    grads: list[Tensor | None] = []
    for layer in range(before.shape[0]):
        d = d_gates[layer]
        d_x = d if cell == "lstm" else d[:, : 3 * hidden]
        d_h = _hidden_part(cell, d, hidden)
        inputs = x if layer == 0 else after[layer - 1]
        bias = d_x.sum(0)
        grads += [d_x.mT @ inputs, d_h.mT @ before[layer], bias]
        grads.append(bias if cell == "lstm" else d_h.sum(0))
    if d_v is None:
        return [*grads, None, None]
    states = last[0] if last.shape[0] == 1 else torch.cat(last.unbind(0), dim=-1)
    return [*grads, d_v.mT @ states, d_v.sum(0)]


class _Dense(torch.autograd.Function):
    @staticmethod
    def forward(
        cell: Any, form: Any, gradient: Any, h: Any, c: Any, *weights: Any
    ) -> tuple[Tensor, ...]:
        out: tuple[Tensor, ...] = op(cell, form)(gradient, h, c, list(weights))
        return out

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        ctx.cell, ctx.form, *tensors = inputs
        ctx.set_materialize_grads(False)
        ctx.mark_non_differentiable(output[3])
        ctx.save_for_backward(*output[1:4], *tensors)

    @staticmethod
    def vmap(info: Any, in_dims: Any, cell: str, form: str, *args: Any) -> Any:
        g, s, saved = GRADIENT_BATCH[form], STATE_BATCH[form], SAVED_BATCH[form]
        where = [g, s, s, *[None] * (len(args) - 3)]

        def call(*values: Any) -> tuple[Tensor, ...]:
            return _DenseWithJvp.apply(cell, form, *values)  # type: ignore[no-any-return, no-untyped-call]

        return map_joined(call, info, in_dims[2:], args, where, [0, saved, saved, saved])

    @staticmethod
    def backward(ctx: Any, d_v: Any, d_hs: Any, d_cs: Any, _: Any) -> tuple[Tensor | None, ...]:
        cell, form = ctx.cell, ctx.form
        hs, cs, gates, gradient, h, c, *weights = ctx.saved_tensors
        needed = ctx.needs_input_grad[2:]
        if d_v is None and d_hs is None and d_cs is None:
            return (None,) * (len(needed) + 2)
        d_v, d_h, d_c = _contiguous(d_v, d_hs, d_cs if cell == "lstm" else None)
        if form == "sequence":
            # only the last of the states is handed on
            d_h = None if d_h is None else d_h[:, -1].contiguous()
            d_c = None if d_c is None else d_c[:, -1].contiguous()
        d_x, d_h0, d_c0, d_gates = _backward_op(
            cell, form, needed[0], d_v, d_h, d_c, h, c, hs, cs, gates, *weights
        )
        grads: Sequence[Tensor | None] = [None] * len(weights)
        if any(needed[3:]):
            if form == "sequence":
                before = torch.cat([h.unsqueeze(1), hs[:, :-1]], dim=1).flatten(1, 2)
                after, last = hs.flatten(1, 2), hs[:, -1]
                x, d_gates = gradient.flatten(0, 1), d_gates.flatten(1, 2)
                grads = _products(cell, x, before, after, last, d_gates, d_v)
            else:
                seen = _Seen([gradient], [h], [hs], [d_gates], [d_v])
                if _eager() and gradient.is_cpu and d_v is not None:
                    # each by itself: autograd adds up in place what shares no memory
                    totals = [w.new_empty(w.shape) for w in weights]
                    seen.add(cell, totals, True)
                    grads = totals
                else:
                    grads = seen.products(cell)
        return (
            None,
            None,
            d_x if needed[0] else None,
            d_h0,
            d_c0 if cell == "lstm" else None,
            *grads,
        )


class _DenseWithJvp(_Dense):
    @staticmethod
    def jvp(ctx: Any, *_: Any) -> Any:
        raise _no_jvp(f"{ctx.cell}_momentum_step")


class _DensePlain(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, *args: Any) -> tuple[Tensor, ...]:
        out = _Dense.forward(*args)
        _Dense.setup_context(ctx, args, out)
        return out

    backward = _Dense.backward
    jvp = _DenseWithJvp.jvp


_DENSE = (_DensePlain, _DenseWithJvp, _Dense)


class _Coordinate(torch.autograd.Function):
    @staticmethod
    def forward(cell: Any, gradient: Any, h: Any, c: Any, *weights: Any) -> tuple[Tensor, ...]:
        out: tuple[Tensor, ...] = op(cell, "coordinate")(gradient, h, c, list(weights))
        return out

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        ctx.cell, *tensors = inputs
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(*tensors)

    @staticmethod
    def vmap(info: Any, in_dims: Any, cell: str, *args: Any) -> Any:
        where = [0, 2, 2, *[None] * (len(args) - 3)]

        def call(*values: Any) -> tuple[Tensor, ...]:
            return _CoordinateWithJvp.apply(cell, *values)  # type: ignore[no-any-return, no-untyped-call]

        return map_joined(call, info, in_dims[1:], args, where, [0, 2, 2])

    @staticmethod
    def backward(ctx: Any, d_v: Any, d_h: Any, d_c: Any) -> tuple[Tensor | None, ...]:
        gradient, h, c, *weights = ctx.saved_tensors
        if d_v is None and d_h is None and d_c is None:
            return (None,) * (4 + len(weights))
        upstream = _contiguous(d_v, d_h, d_c if ctx.cell == "lstm" else None)
        d_x, d_h0, d_c0, sums = _backward_op(
            ctx.cell, "coordinate", *upstream, gradient, h, c, *weights
        )
        parts = torch.split(sums, [w.numel() for w in weights])
        grads = [part.reshape(w.shape) for part, w in zip(parts, weights, strict=True)]
        return (None, d_x, d_h0, d_c0 if ctx.cell == "lstm" else None, *grads)


class _CoordinateWithJvp(_Coordinate):
    @staticmethod
    def jvp(ctx: Any, *_: Any) -> Any:
        raise _no_jvp(f"{ctx.cell}_momentum_step")


class _CoordinatePlain(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, *args: Any) -> tuple[Tensor, ...]:
        out = _Coordinate.forward(*args)
        _Coordinate.setup_context(ctx, args, out)
        return out

    backward = _Coordinate.backward
    jvp = _CoordinateWithJvp.jvp


_COORDINATE = (_CoordinatePlain, _CoordinateWithJvp, _Coordinate)


# --- deferred weight gradients
# ---------------------------------------------------------------------
#
# T steps of one network add T gradients to the same weights, each as large as the weights. A tape
# gives every step two tensors of zeros that are added (in thought) to its gates' pre-activations
# and to its output. Their gradients are what weight gradients are made of, and the Function that
# made them gets those of some steps at once: one product over the rows of all of them. Each of
# these Functions also makes a zero for the next: its gradient is the sum so far, which the weights
# get in the end.


class _Tokens(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, tape: Tape, first: int, *before: Tensor) -> tuple[Tensor, ...]:
        ctx.cell, ctx.record, ctx.size = tape.cell, tape.record[first], tape.sizes[0]
        ctx.shapes, ctx.first = tape.shapes, first == 0
        ctx.set_materialize_grads(False)
        zero = before[0].new_zeros(())
        tokens = (zero.expand(size) for _ in range(tape.chunk) for size in tape.sizes)
        return (*tokens, zero.expand(tape.count))

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
        if torch.is_grad_enabled():
            raise NotImplementedError(
                f"{ctx.cell}_momentum_step: weight gradients that were deferred by a tape can't be "
                "differentiated again (no create_graph)"
            )
        *tokens, total = grads
        gates, outputs = tokens[::2], tokens[1::2]
        used = [
            t
            for t, (g, v) in enumerate(zip(gates, outputs, strict=True))
            if g is not None or v is not None
        ]
        if used:
            x, before, after = ([ctx.record[t][k] for t in used] for k in range(3))
            given = [gates[t] for t in used]
            d_gates = [x[0].new_zeros(ctx.size) if g is None else g for g in given]
            seen = _Seen(x, before, after, d_gates, [outputs[t] for t in used])
            fresh = total is None
            if total is None:
                total = x[0].new_empty(sum(shape.numel() for shape in ctx.shapes))
            seen.add(ctx.cell, _parts(total, ctx.shapes), fresh)
        if not torch._C._autograd._get_current_graph_task_keep_graph():
            ctx.record.clear()  # as autograd does with what it has saved
        if not ctx.first:
            return None, None, total
        parts = [None] * len(ctx.shapes) if total is None else _parts(total, ctx.shapes)
        return (None, None, *parts)


class _TapeStep(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        tape: Tape,
        gradient: Tensor,
        h: Tensor,
        c: Tensor | None,
        gates_token: Tensor,
        output_token: Tensor,
    ) -> tuple[Tensor, ...]:
        v, h_out, c_out, gates = tape.forward(gradient, h, c, tape.weights)
        ctx.tape = tape
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(h, c, h_out, c_out, gates)
        return v, h_out, c_out

    @staticmethod
    def backward(ctx: Any, d_v: Any, d_h: Any, d_c: Any) -> tuple[Tensor | None, ...]:
        if d_v is None and d_h is None and d_c is None:
            return (None,) * 6
        saved, tape, wanted = ctx.saved_tensors, ctx.tape, ctx.needs_input_grad[1]
        if tape.versions != [w._version for w in tape.live]:
            raise RuntimeError(
                "recurrent momentum: weights needed for gradient computation have been modified by "
                "an inplace operation"
            )
        lstm = tape.cell == "lstm"
        d_v, d_h, d_c = _contiguous(d_v, d_h, d_c if lstm else None)
        if torch.is_grad_enabled():
            out = _backward_op(tape.cell, "step", wanted, d_v, d_h, d_c, *saved, *tape.weights)
        else:
            out = tape.backward(d_v, d_h, d_c, *saved, tape.weights, wanted)
        d_x, d_h0, d_c0, d_gates = out
        return None, d_x if wanted else None, d_h0, d_c0 if lstm else None, d_gates, d_v


class Tape:
    """The steps of one unrolled network on one batch, whose weight gradients are computed together.

    Gradients are those of single steps, up to the order of a sum, but for weights without any:
    zero, where single steps have None. Eager mode only, first derivatives only.

    `steps` is a guess of their number. Steps are taken together in chunks of about 128 rows: enough
    for a matrix product, and no more of their gradients are kept at a time.
    """

    def __init__(self, cell: str, weights: Weights, batch: int, steps: int = 32) -> None:
        self.chunk = max(1, min(steps, -(-128 // max(batch, 1))))
        layers, hidden = (len(weights) - 2) // 4, weights[1].shape[1]
        self.cell = cell
        self.sizes = ((layers, batch, 4 * hidden), (batch, weights[-1].shape[0]))
        self.forward, self.backward = op(cell, "step"), op(cell, "step", True)
        self.live = weights
        #: weights must not change between the steps and their gradients
        self.versions = [w._version for w in weights]
        self.weights = [w.detach().contiguous() for w in weights]
        #: what each step saw, by chunks: detached, so that nothing here holds the graph
        self.record: dict[int, list[tuple[Tensor, Tensor, Tensor]]] = {}
        self.tokens: list[Tensor] = []
        self.carry: tuple[Tensor, ...] = weights
        self.shapes = [w.shape for w in weights]
        self.count = sum(w.numel() for w in weights)

    def step(self, gradient: Tensor, h: Tensor, c: Tensor | None) -> tuple[Tensor, ...]:
        """v, h', c' of one step, recorded."""
        if not self.tokens:
            first = len(self.record)
            self.record[first] = []
            *self.tokens, carry = _Tokens.apply(self, first, *self.carry)  # type: ignore[no-untyped-call]
            self.carry = (carry,)
        record = self.record[len(self.record) - 1]
        gates, output = self.tokens[:2]
        del self.tokens[:2]
        out: tuple[Tensor, ...] = _TapeStep.apply(self, gradient, h, c, gates, output)  # type: ignore[no-untyped-call]
        record.append((gradient.detach(), h.detach(), out[1].detach()))
        return out
