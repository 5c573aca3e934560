"""The EIT kernels on CUDA: equal to the CPU over the models. Skipped where there is no GPU."""

from __future__ import annotations

import pytest
import torch

from eit_cases import MODELS, conductivity, normal
from lpgd_native import Status
from lpgd_native.operators import EIT, Mesh
from test_eit import raw_inputs

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(
        not torch.cuda.is_available()
        or not torch._C._dispatch_has_kernel_for_dispatch_key("lpgd::eit_forward", "CUDA"),
        reason="no GPU, or built without CUDA",
    ),
]

each = pytest.mark.parametrize("name", MODELS)


@each
@pytest.mark.parametrize("batch", [1, 3, 700])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
def test_maps_agree_with_the_cpu(name, batch, dtype):
    operator, there = MODELS[name](), MODELS[name]().cuda()
    x, dx = conductivity(operator, batch, dtype=dtype), normal(batch, *operator.domain, seed=1)
    dy = normal(batch, *operator.range, seed=2)
    dx, dy = dx.to(dtype), dy.to(dtype)
    tolerance = 1e-11 if dtype == torch.float64 else 1e-5
    for left, right in (
        (there(x.cuda()), operator(x)),
        (there.vjp(x.cuda(), dy.cuda()), operator.vjp(x, dy)),
        (there.jvp(x.cuda(), dx.cuda()), operator.jvp(x, dx)),
        (there.gradient(x.cuda(), dy.cuda()), operator.gradient(x, dy)),
        (there.jacobian(x[:5].cuda()), operator.jacobian(x[:5])),
    ):
        assert left.device.type == "cuda"
        torch.testing.assert_close(left.cpu(), right, rtol=tolerance, atol=tolerance)


@each
def test_second_derivatives_agree_with_the_cpu(name):
    found = []
    for device in ("cpu", "cuda"):
        operator = MODELS[name]().to(device)
        x = conductivity(operator, 4).to(device).requires_grad_()
        y = normal(4, *operator.range).to(device)
        g = operator.gradient(x, y, differentiable=True)
        found.append(torch.autograd.grad(g.square().sum(), x)[0].cpu())
    torch.testing.assert_close(found[1], found[0], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("resolution", ["coarse", "fine"])
def test_the_meshes_of_the_package(resolution):
    operator = EIT(Mesh.disc(resolution))
    there = EIT(Mesh.disc(resolution)).cuda()
    x = conductivity(operator, 3)
    y = operator(x)
    torch.testing.assert_close(there(x.cuda()).cpu(), y, rtol=1e-10, atol=1e-12)
    left, right = there.gradient(x.cuda(), 0 * y.cuda()), operator.gradient(x, 0 * y)
    torch.testing.assert_close(left.cpu(), right, rtol=1e-9, atol=1e-11)


def test_gauss_newton_agrees_with_the_cpu():
    operator = MODELS["trigonometric"]()
    y = operator(conductivity(operator, 5))
    left, right = MODELS["trigonometric"]().cuda().gauss_newton(y.cuda()), operator.gauss_newton(y)
    torch.testing.assert_close(left.cpu(), right, rtol=1e-7, atol=1e-7)


def test_a_bad_item_marks_itself_alone():
    operator = MODELS["point"](validate=False).cuda()
    x = conductivity(operator, 11).cuda()
    bad = x.clone()
    bad[2, 5], bad[3], bad[7], bad[8, 1] = torch.nan, -bad[3], 0.0, torch.inf
    failed = torch.tensor([2, 3, 7, 8])
    rest = torch.tensor([i for i in range(11) if i not in failed.tolist()])
    voltages, status = operator.solve(bad)
    assert status[failed].tolist() == [Status.NUMERICAL_ERROR] * 4
    assert not status[rest].any()
    assert voltages[failed].isnan().all()
    assert torch.equal(voltages[rest], operator(x)[rest])
    dy = normal(11, *operator.range).cuda()
    assert torch.equal(operator.vjp(bad, dy)[rest], operator.vjp(x, dy)[rest])
    assert not operator.vjp(bad, dy)[failed].any()


def test_integers_that_are_no_mesh_are_found_on_the_device():
    operator = MODELS["point"](validate=False)
    arguments = [t.cuda() for t in raw_inputs(operator)["eit_gradient"]]
    assert not torch.ops.lpgd.eit_gradient(*arguments)[2].any()
    for place in (3, 4, 5, 8):  # plan, links, factor, pairs
        bad = list(arguments)
        bad[place] = bad[place].clone()
        bad[place].view(-1)[1] = 10**6
        gradient, voltages, status = torch.ops.lpgd.eit_gradient(*bad)
        assert status.tolist() == [Status.NUMERICAL_ERROR] * 3
        assert voltages.isnan().all()
        assert not gradient.any()


@pytest.mark.parametrize("name", list(raw_inputs(MODELS["point"]())))
def test_opcheck(name):
    arguments = tuple(t.cuda() for t in raw_inputs(MODELS["point"]())[name])
    torch.library.opcheck(getattr(torch.ops.lpgd, name).default, arguments)


def test_bits_repeat_and_graphs_replay():
    operator = MODELS["complete"](validate=False).cuda()
    x = conductivity(operator, 64).cuda()
    y = normal(64, *operator.range).cuda()
    assert torch.equal(operator.gradient(x, y), operator.gradient(x, y))
    graph = torch.cuda.CUDAGraph()
    held = x.clone()
    with torch.cuda.graph(graph):
        out = operator.gradient(held, y)
    held.copy_(2.0 * x)
    graph.replay()
    assert torch.equal(out, operator.gradient(2.0 * x, y))


def test_the_current_stream_is_used():
    operator = MODELS["point"](validate=False).cuda()
    x = conductivity(operator, 256).cuda()
    expected = operator(x)
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        found = operator(x + 0.0)  # made on this stream: another would read it too early
    stream.synchronize()
    assert torch.equal(found, expected)


def test_an_empty_batch():
    operator = MODELS["point"]().cuda()
    assert operator(conductivity(operator, 0).cuda()).shape == (0, *operator.range)
