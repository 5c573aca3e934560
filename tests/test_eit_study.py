"""The EIT study: phantoms, cached data, metrics, training that resumes, tables, reconstruction of
CSV.
"""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from eit_cases import conductivity, normal, small_mesh
from lpgd_native import cli
from lpgd_native.experiments import (
    eit,
    eit_data,
    eit_metrics,
    eit_reconstruct,
    eit_report,
    eit_study,
    eit_train,
)
from lpgd_native.experiments.eit_data import DataSettings
from lpgd_native.operators import EIT, Mesh, Preconditioned

TINY = eit.Settings(
    steps=4, batch=3, evaluations=2, sizes=(4, 6), data=DataSettings(sizes=(6, 3, 3))
)


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def operator():
    return eit.make_operator()


@pytest.fixture(scope="module")
def data(operator):
    return eit_data.make(TINY.data, operator)


# phantoms


@pytest.mark.parametrize("inclusions", [2, 3, 4])
def test_discs_are_those_of_the_description(operator, inclusions):
    family = eit_data.FAMILIES[inclusions]
    x = eit_data.phantoms(operator.mesh, 20, inclusions=inclusions, seed=5)
    expected = torch.tensor(sorted({1.0, *family.values}))
    assert torch.equal(x.unique(), expected)
    for index in range(20):
        drawn = eit_data.draw(inclusions, "disc", np.random.default_rng([5, inclusions, 0, index]))
        assert tuple(i.value for i in drawn) == family.values
        for i in drawn:
            assert max(abs(i.x), abs(i.y)) <= family.reach
            assert family.radii[0] <= i.radius <= family.radii[1]
            inside = np.hypot(*(operator.mesh.centroids - (i.x, i.y)).T) < i.radius
            assert (x[index].numpy()[inside] == np.float32(i.value)).all()
        for a in range(inclusions):
            for b in range(a):
                gap = np.hypot(drawn[a].x - drawn[b].x, drawn[a].y - drawn[b].y)
                assert gap >= drawn[a].radius + drawn[b].radius + 0.05


def test_sets_are_deterministic_nested_and_disjoint(operator):
    mesh = operator.mesh
    first = eit_data.phantoms(mesh, 8, seed=0)
    assert torch.equal(first[:5], eit_data.phantoms(mesh, 5, seed=0))
    other = eit_data.phantoms(mesh, 8, seed=1)
    rows = [tuple(row) for row in torch.cat([first, other]).tolist()]
    assert len(set(rows)) == 16


def test_the_same_phantom_on_two_meshes(operator):
    fine = Mesh.disc("fine")
    for shape in eit_data.SHAPES:
        a = eit_data.phantoms(operator.mesh, 4, shape=shape)
        b = eit_data.phantoms(fine, 4, shape=shape)
        means = [
            (x.double() * torch.from_numpy(m.areas / m.areas.sum())).sum(1)
            for x, m in ((a, operator.mesh), (b, fine))
        ]
        torch.testing.assert_close(*means, rtol=0.03, atol=0.0)


def test_polygons_have_straight_sides_and_blobs_smooth_edges(operator):
    rng = np.random.default_rng(3)
    outline = eit_data._polygon(rng)
    angles = np.linspace(-np.pi, np.pi, 2001)
    radius = outline(angles)
    assert radius.max() <= 1 + 1e-12
    assert radius.min() > 0
    points = radius[:, None] * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    steps = np.diff(points, axis=0)
    headings = np.unwrap(np.arctan2(steps[:, 1], steps[:, 0]))
    turning = np.abs(np.diff(headings)) > 1e-6  # once or twice at each corner
    assert 3 <= turning.sum() <= 12
    x = eit_data.phantoms(operator.mesh, 5, shape="blob")
    between = (x > 1.05) & (x < 1.95)
    assert between.any(1).all()
    with pytest.raises(ValueError, match="inclusions must be 2, 3 or 4, got 5"):
        eit_data.phantoms(operator.mesh, 1, inclusions=5)
    with pytest.raises(ValueError, match="disc, polygon, blob, got 'star'"):
        eit_data.phantoms(operator.mesh, 1, shape="star")


# data


def test_inverse_crime_and_honest_data(operator, data):
    torch.testing.assert_close(data.train.y, operator(data.train.x.double()).float())
    fine = EIT(Mesh.disc("fine"))
    settings = replace(TINY.data, honest=True, sizes=(2, 1, 8), noise=0.5)
    honest = eit_data.make(settings, operator, fine)
    noiseless = eit_data.make(replace(settings, noise=0.0), operator, fine)
    assert torch.equal(honest.train.x, data.train.x[:2])
    relative = (honest.test.y / noiseless.test.y - 1).double()
    assert float(relative.std()) == pytest.approx(0.005, rel=0.1)
    assert abs(float(relative.mean())) < 0.0005
    # another mesh: near the crime's voltages, and not they
    crime = operator(honest.test.x.double())
    off = (noiseless.test.y - crime).norm(dim=1) / crime.norm(dim=1)
    assert float(off.min()) > 1e-4
    assert float(off.max()) < 0.05
    again = eit_data.make(replace(settings, sizes=(0, 0, 2)), operator, fine)
    torch.testing.assert_close(again.test.y, honest.test.y[:2], rtol=1e-6, atol=0)


def test_stored_data_are_used_and_damaged_ones_made_again(tmp_path, monkeypatch):
    operator = EIT(small_mesh())
    first = eit_data.load(TINY.data, operator, tmp_path)
    (path,) = tmp_path.iterdir()
    assert path.suffix == ".npz"
    data = eit_data.make(TINY.data, operator)
    assert all(torch.equal(a, b) for a, b in zip(first.train, data.train, strict=True))
    good = path.read_bytes()
    made = []
    real = eit_data.make
    monkeypatch.setattr(eit_data, "make", lambda *a: made.append(a) or real(*a))
    assert torch.equal(eit_data.load(TINY.data, operator, tmp_path).test.y, first.test.y)
    assert not made
    middle = len(good) // 2
    flipped = good[:middle] + bytes([good[middle] ^ 1]) + good[middle + 1 :]
    for number, damaged in enumerate((good[:-100], b"", b"nonsense", flipped), 1):
        path.write_bytes(damaged)
        found = eit_data.load(TINY.data, operator, tmp_path)
        assert len(made) == number
        assert torch.equal(found.test.y, first.test.y)
        assert path.read_bytes()[:100] == good[:100]
        assert [p.name for p in tmp_path.iterdir()] == [path.name]
    # whole, but of other content than its digest says
    with np.load(path, allow_pickle=False) as archive:
        arrays = dict(archive)
    arrays["test_y"] = arrays["test_y"] + 1
    np.savez(path, **arrays)
    assert torch.equal(eit_data.load(TINY.data, operator, tmp_path).test.y, first.test.y)
    # other settings, meshes and patterns have other names
    names = {
        eit_data.key(TINY.data, operator),
        eit_data.key(replace(TINY.data, seed=1), operator),
        eit_data.key(TINY.data, EIT(small_mesh(4))),
        eit_data.key(TINY.data, EIT(operator.mesh, drop_driven=False)),
        eit_data.key(TINY.data, operator, operator),
    }
    assert len(names) == 5
    assert eit_data.key(TINY.data, EIT(small_mesh())) in names


# metrics


def test_metrics_by_hand():
    truth = torch.tensor([[1.0, 2.0, 1.0, 0.5]], dtype=torch.float64)
    x = truth + torch.tensor([[0.0, 0.1, -0.1, 0.2]])
    assert float(eit_metrics.mse(x, truth)) == pytest.approx(0.06 / 4)
    assert float(eit_metrics.psnr(x, truth)) == pytest.approx(10 * np.log10(1.5**2 / 0.015))
    assert float(eit_metrics.psnr(x, truth, 2.0)) == pytest.approx(10 * np.log10(4 / 0.015))
    norm = np.sqrt(6.25)
    assert float(eit_metrics.relative_error(x, truth)) == pytest.approx(np.sqrt(0.06) / norm)
    assert float(eit_metrics.dynamic_range(x, truth)) == pytest.approx(100 * 1.4 / 1.5)


def test_similarity_on_a_mesh():
    mesh = small_mesh(2)
    similarity = eit_metrics.MeshSimilarity(mesh)
    x, truth = (conductivity(EIT(mesh), 2, seed=s) for s in (0, 1))
    values = []
    for a, b in zip(x.numpy(), truth.numpy(), strict=True):
        c1, c2 = 0.01**2 * b.max(), 0.03**2 * b.max()
        parts = []
        for i, corners in enumerate(mesh.triangles):
            near = [
                j
                for j, others in enumerate(mesh.triangles)
                if j != i and set(corners) & set(others)
            ]
            p, q = a[near], b[near]
            cov = ((p - p.mean()) * (q - q.mean())).mean()
            top = (2 * p.mean() * q.mean() + c1) * (2 * cov + c2)
            parts.append(top / ((p.mean() ** 2 + q.mean() ** 2 + c1) * (p.var() + q.var() + c2)))
        values.append(np.mean(parts))
    torch.testing.assert_close(similarity(x, truth), torch.tensor(values), rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(similarity(x, x), torch.ones(2, dtype=torch.float64))


def test_voltage_error(operator, data):
    part = data.test
    zero = eit_metrics.voltage_error(part.x, operator(part.x.double()), operator)
    assert float(zero.max()) < 1e-12
    assert (eit_metrics.voltage_error(torch.ones_like(part.x), part.y, operator) > 1e-3).all()


# preconditioned gradients


@pytest.mark.parametrize("kind", ["none", "norm", "gauss-newton"])
def test_preconditioned_gradients(kind):
    plain = EIT(small_mesh())
    wrapped = Preconditioned(plain, kind, weight=0.1)
    x, y = conductivity(plain, 3), normal(3, *plain.range)
    J = plain.jacobian(torch.ones(plain.domain, dtype=torch.float64))
    eye = torch.eye(len(J.T), dtype=J.dtype)
    matrix = {
        "none": eye,
        "norm": eye / torch.linalg.eigvalsh(J @ J.T)[-1],
        "gauss-newton": torch.linalg.inv(J.T @ J + 0.1 * torch.diag(J.square().sum(0) ** 0.25)),
    }[kind]
    expected = plain.gradient(x, y) @ matrix
    torch.testing.assert_close(wrapped.gradient(x, y), expected, rtol=1e-9, atol=1e-10)
    torch.testing.assert_close(wrapped.vjp(x, y), plain.vjp(x, y) @ matrix, rtol=1e-9, atol=1e-10)
    assert torch.equal(wrapped(x), plain(x))
    assert torch.equal(wrapped.jvp(x, x), plain.jvp(x, x))
    dy = y.clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda d: wrapped.vjp(x, d)[:, ::9], (dy,))
    if kind == "norm":  # a step of gradient descent descends
        x, y = torch.ones_like(x), plain(x)
        before, after = (
            0.5 * (plain(z) - y).square().sum(1) for z in (x, x - wrapped.gradient(x, y))
        )
        assert (after < before).all()
    if kind == "gauss-newton":  # its first step
        x, y = torch.ones_like(x), plain(x)
        step = plain.gauss_newton(y, iterations=1, regularisation=0.1, minimum=None)
        torch.testing.assert_close(x - wrapped.gradient(x, y), step, rtol=1e-8, atol=1e-9)


def test_preconditioned_refuses():
    with pytest.raises(ValueError, match="kind must be one of"):
        Preconditioned(EIT(small_mesh()), "newton")
    with pytest.raises(ValueError, match="weight must be positive, got 0"):
        Preconditioned(EIT(small_mesh()), "gauss-newton", weight=0)
    with pytest.raises(TypeError, match="got Linear"):
        Preconditioned(torch.nn.Linear(1, 1))


def test_scales_of_gradients_are_far_apart(operator, data):
    scales = eit.gradient_scales(operator, data)
    assert scales["none"]["gauss-newton"] < 1e-6
    assert 1e-5 < scales["none"]["one"] < 1e-3
    assert scales["gauss-newton"]["one"] > 100 * scales["none"]["one"]


# networks and training


def test_every_network_of_the_study_can_be_built(operator):
    sizes = {}
    for name in (*eit.SIX, *eit.CONTROLS, *eit.GRADIENTS):
        built = eit.network(name).build(operator)
        sizes[name] = sum(p.numel() for p in built.parameters())
    assert sizes["LPD"] == sizes["LPD-MA"] == 115_990
    assert sizes["LPGD"] == 130_640
    assert sizes["LPD:iterations=22"] >= sizes["LPD-RMA"] == sizes["LPD-blind"]
    for text, match in (
        ("LPX", "unknown network 'LPX'"),
        ("LPD:size=3", "unknown option 'size'"),
        ("LPD:start=zero", "start must be one of"),
    ):
        with pytest.raises(ValueError, match=match):
            eit.network(text)
    assert cli.main(["train", "eit", "--networks", "LPX"]) == 2


def test_a_stopped_run_goes_on_to_the_same_end(operator, data, tmp_path):
    spec = eit.network("LPD-RMA:iterations=2,hidden=4,precondition=gauss-newton,start=one")
    whole = eit_train.train(spec, 6, 0, operator, data, TINY, tmp_path / "whole")

    class Stopped(Exception):
        pass

    def stop(step, values):
        raise Stopped

    folder = tmp_path / "parts"
    with pytest.raises(Stopped):
        eit_train.train(spec, 6, 0, operator, data, replace(TINY), folder, stop, save_every=0.0)
    rest = eit_train.train(spec, 6, 0, operator, data, TINY, folder)
    for key in ("mse", "ssim", "validation", "best_step", "curve"):
        assert rest[key] == whole[key], key
    seen = []
    again = eit_train.train(
        spec, 6, 0, operator, data, TINY, folder, lambda step, values: seen.append(step)
    )
    assert again == json.loads(json.dumps(rest))
    assert not seen
    names = sorted(p.name for p in folder.rglob("*"))
    stem = eit_train.run_name(spec, TINY, 6, 0)
    assert names == sorted([f"{stem}.json", "models", f"{stem}.pt"])


def run_of(name, size, seed, value):
    return {
        "network": name,
        "size": size,
        "seed": seed,
        "parameters": 10,
        "seconds_per_epoch": 1.0,
        **dict.fromkeys(eit_report.MEASURES, value),
    }


def test_verdicts_are_those_of_paired_intervals(operator, data):
    errors = {
        ("LPD", 50): (3.0, 3.1, 2.9),
        ("LPD", 400): (2.0, 2.1, 1.9),
        ("LPD-RMA", 50): (1.1, 1.2, 1.0),
        ("LPD-RMA", 400): (1.0, 1.1, 0.9),
        ("LPD-MA", 50): (3.0, 3.0, 2.95),
    }
    results = eit_report.Results(
        run_of(name, size, seed, value)
        for (name, size), values in errors.items()
        for seed, value in enumerate(values)
    )
    names = ["LPD", "LPD-MA", "LPD-RMA"]
    text = eit_report.markdown(results, names, [50, 400], operator, data, {"none": {"one": 1e-4}})
    assert "| C2 | LPD-RMA − LPD | 50 | 3 | -1.90000 ± 0.00000 | holds |" in text
    assert "C4 | loss from 400 to 50 samples: LPD-RMA − LPD | both | 3 | -0.90000" in text
    assert "| LPD | 10 | 50 | 3 | 3.00000 ± 0.24843" in text
    assert "| Gauss-Newton |" in text
    table = eit_report.claims_table({"a": results, "b": eit_report.Results([])}, [50, 400])
    assert "| C2 | LPD-RMA − LPD | 50 | -190000 ± 0: holds | not run |" in table
    assert "| both | -90000 ± 0: holds | not run |" in table
    assert eit_report.verdict(results.difference("LPD", "LPD-RMA", 50)) == "fails"
    assert eit_report.verdict(results.difference("LPD", "LPD-MA", 50)) == "cannot be told"
    assert eit_report.verdict(results.difference("LPD", "LPGD", 50)) == "not run"


def test_the_study_from_end_to_end(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(eit, "QUICK", TINY)
    out = tmp_path / "eit"
    arguments = ["train", "eit", "--quick", "--out", str(out), "--settings", "crime"]
    arguments += ["--networks", "LPD:iterations=2;LPD-RMA:iterations=2,hidden=4"]
    assert cli.main(arguments) == 0
    assert "[4/4]" in capsys.readouterr().out
    stem = out / "eit-disc2-crime"
    assert "| LPD:iterations=2 |" in stem.with_suffix(".md").read_text()
    if importable("matplotlib"):
        for kind in ("errors", "phantoms"):
            assert (out / f"eit-disc2-crime-{kind}.png").stat().st_size > 10_000
    table = stem.with_suffix(".md").read_text()
    assert cli.main([*arguments, "--report"]) == 0  # trains nothing, says the same
    assert "[4/4]" not in capsys.readouterr().out
    assert stem.with_suffix(".md").read_text() == table
    for wrong in (["--settings", "odd"], ["--sizes", "500"]):
        assert cli.main([*arguments, *wrong]) == 2


def importable(name):
    import importlib.util

    return importlib.util.find_spec(name) is not None


def test_study_refuses_what_it_does_not_know(tmp_path):
    with pytest.raises(ValueError, match="crime or honest, got 'fair'"):
        eit_study.run(tmp_path, settings=["fair"])
    with pytest.raises(ValueError, match="inclusions must be 2, 3 or 4, got 7"):
        eit_study.run(tmp_path, quick=True, inclusions=[7], networks=["LPD"])


# a user's own voltages


def test_reconstruct(operator, data, tmp_path, capsys):
    pytest.importorskip("meshio")
    pytest.importorskip("matplotlib")
    operator.mesh.save(tmp_path / "mesh.npz")
    file = tmp_path / "v.csv"
    header = ",".join(f"v{i}" for i in range(208))
    np.savetxt(file, data.test.y.numpy()[:2], delimiter=",", header=header, comments="", fmt="%.9g")
    spec = eit.network("LPD-RMA:iterations=2,hidden=4")
    eit_train.train(spec, 6, 0, operator, data, TINY, tmp_path)
    model = tmp_path / "models" / f"{eit_train.run_name(spec, TINY, 6, 0)}.pt"
    common = ["reconstruct", "--mesh", str(tmp_path / "mesh.npz"), "--voltages", str(file)]
    assert cli.main([*common, "--model", str(model), "--out", str(tmp_path / "net")]) == 0
    assert "conductivity.vtu written" in capsys.readouterr().out
    table = np.loadtxt(tmp_path / "net" / "conductivity.csv", delimiter=",", skiprows=1)
    assert table.shape == (684, 5)
    np.testing.assert_allclose(table[:, 1:3], operator.mesh.centroids)
    network = spec.build(operator)
    network.load_state_dict(torch.load(model, weights_only=True)["weights"])
    expected = eit_train.predict(network, spec, eit_data.Part(*(t[:2] for t in data.test)))
    np.testing.assert_allclose(table[:, 3:], expected.numpy().T, atol=2e-4)
    import meshio

    stored = meshio.read(tmp_path / "net" / "conductivity.vtu")
    np.testing.assert_allclose(stored.cell_data["sample1"][0], table[:, 4])
    assert (tmp_path / "net" / "conductivity.png").stat().st_size > 5_000
    # without a model: Gauss-Newton
    assert cli.main([*common, "--out", str(tmp_path / "gn")]) == 0
    table = np.loadtxt(tmp_path / "gn" / "conductivity.csv", delimiter=",", skiprows=1)
    np.testing.assert_allclose(table[:, 3:], data.test.start[:2].numpy().T, atol=1e-3)
    # a model of another mesh
    small = small_mesh()
    small.save(tmp_path / "small.npz")
    np.savetxt(tmp_path / "few.csv", np.ones((1, 18)), delimiter=",")
    with pytest.raises(ValueError, match=r"684 elements and 208 voltages.* have 54 and 18"):
        eit_reconstruct.reconstruct(tmp_path / "small.npz", tmp_path / "few.csv", model)


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("1,2\n1,2,3\n", "line 2: 3 voltages, the mesh and pattern have 2"),
        ("1,2\n1,x\n", "line 2: voltage 1 is 'x', not a number"),
        ("1,nan\n", "line 1: voltage 1 is nan, not finite"),
        ("a,b\n", "has no voltages"),
    ],
)
def test_bad_voltages(tmp_path, text, match):
    file = tmp_path / "v.csv"
    file.write_text(text)
    with pytest.raises(ValueError, match=match):
        eit_reconstruct.read_voltages(file, 2)
    assert cli.main(["reconstruct", "--voltages", str(file), "--out", str(tmp_path)]) == 2


def test_the_demo_s_panel(tmp_path):
    pytest.importorskip("matplotlib")
    from lpgd_native.experiments import eit_demo

    panel = eit_demo.run(tmp_path, quick=True, shown=2)
    assert panel.picture.stat().st_size > 10_000
    assert 0 < panel.gauss_newton < panel.background
    assert f"{panel.error:.4f}" in str(panel)
    assert [path.name for path in tmp_path.iterdir()] == ["eit.png"]
