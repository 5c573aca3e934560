"""Meshes, patterns and data that EIT refuses, with index and value; files; the meshes shipped."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from eit_cases import conductivity, normal, small_mesh
from lpgd_native.operators import EIT, Mesh

POINTS = np.array(
    [[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0], [3.0, 0.0], [4.0, 0.0], [4.0, 1.0]]
)
SQUARE = [[0, 1, 2], [0, 2, 3]]


@pytest.mark.parametrize(
    ("resolution", "least", "most"), [("coarse", 650, 720), ("fine", 9_000, 11_000)]
)
def test_shipped_meshes_are_good(resolution, least, most):
    mesh = Mesh.disc(resolution)
    quality = mesh.quality()
    assert least <= quality.elements == len(mesh.triangles) <= most
    assert quality.min_angle > 35
    assert quality.max_angle < 100
    assert quality.mean_min_angle > 55
    assert quality.min_shape > 0.7
    assert quality.area_ratio < 3
    # a polygon in the unit circle
    sides = len(mesh.boundary)
    assert mesh.areas.sum() == pytest.approx(0.5 * sides * np.sin(2 * np.pi / sides), rel=1e-12)
    t = 2 * np.pi * np.arange(16) / 16
    expected = np.stack([-np.cos(t), np.sin(t)], axis=1)
    np.testing.assert_allclose(mesh.points[mesh.electrodes], expected, atol=1e-12)
    assert all(node in arc for node, arc in zip(mesh.electrodes, mesh.arcs, strict=True))
    # the order of elements is a walk through the disc: networks convolve along it
    steps = np.linalg.norm(np.diff(mesh.centroids, axis=0), axis=1)
    assert steps.mean() < 2 * np.sqrt(mesh.areas.mean())
    assert str(quality).startswith(f"{quality.elements} elements")


def test_quality_of_known_triangles():
    quality = Mesh(POINTS[:4], SQUARE).quality()
    assert quality.min_angle == pytest.approx(45)
    assert quality.max_angle == pytest.approx(90)
    assert quality.min_shape == pytest.approx(2 * (2**0.5 - 1))  # 2 r / R of the right triangle
    equal = Mesh([[0, 0], [1, 0], [0.5, 3**0.5 / 2]], [[0, 1, 2]]).quality()
    assert equal.min_shape == pytest.approx(1)


def test_files(tmp_path):
    mesh = small_mesh()
    mesh.save(tmp_path / "mesh.npz")
    again = Mesh.load(tmp_path / "mesh.npz")
    for name in ("points", "triangles", "electrodes", "boundary"):
        np.testing.assert_array_equal(getattr(mesh, name), getattr(again, name))
    assert [a.tolist() for a in again.arcs] == [a.tolist() for a in mesh.arcs]
    np.savez(tmp_path / "other.npz", points=mesh.points)
    with pytest.raises(ValueError, match="no array 'triangles'"):
        Mesh.load(tmp_path / "other.npz")


def test_meshio_formats(tmp_path):
    meshio = pytest.importorskip("meshio")
    mesh = small_mesh()
    values = np.arange(len(mesh.triangles), dtype=float)
    mesh.write(tmp_path / "mesh.vtu", conductivity=values)
    stored = meshio.read(tmp_path / "mesh.vtu")
    np.testing.assert_array_equal(stored.cell_data["conductivity"][0], values)
    again = Mesh.read(tmp_path / "mesh.vtu", electrodes=mesh.electrodes, arcs=mesh.arcs)
    x = conductivity(EIT(mesh), 2)
    assert torch.equal(EIT(again)(x), EIT(mesh)(x))
    # clockwise triangles and a node that no triangle has
    points = np.pad(np.concatenate([[[9.0, 9.0]], mesh.points]), ((0, 0), (0, 1)))
    cells = [("line", [[1, 2]]), ("triangle", mesh.triangles[:, ::-1] + 1)]
    meshio.Mesh(points, cells).write(tmp_path / "turned.vtu")
    turned = Mesh.read(tmp_path / "turned.vtu", electrodes=mesh.electrodes + 1)
    torch.testing.assert_close(EIT(turned)(x), EIT(mesh)(x), rtol=1e-12, atol=1e-13)
    meshio.Mesh(points, cells[:1]).write(tmp_path / "lines.vtu")
    with pytest.raises(ValueError, match="has no triangles"):
        Mesh.read(tmp_path / "lines.vtu")


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: Mesh(POINTS[:4, :1], SQUARE), r"points must be \[N, 2\], got \[4, 1\]"),
        (lambda: Mesh(POINTS[:4], [[0, 1]]), r"triangles must be \[T, 3\], got \[1, 2\]"),
        (
            lambda: Mesh(POINTS[:4], [[0, 1, 2], [0, 2, 9]]),
            r"triangles\[1, 2\] = 9 is not one of 4",
        ),
        (lambda: Mesh(POINTS[:4], [[0, 1, 2], [0, 3, 2]]), r"triangle 1 is inverted .*area -0.5"),
        (lambda: Mesh(POINTS[:4], [[0, 1, 2], [0, 2, 2]]), r"triangle 1 is flat"),
        (lambda: Mesh(POINTS[:5], SQUARE), "node 4 is isolated"),
        (lambda: Mesh(POINTS, [*SQUARE, [4, 5, 6]]), "triangle 2 is isolated from triangle 0"),
        (
            lambda: Mesh(np.where(POINTS == 4, np.nan, POINTS), [*SQUARE, [4, 5, 6]]),
            r"points\[5, 0\] = nan is not finite",
        ),
        (
            lambda: Mesh(
                [[0, 0], [1, 0], [0, 1], [1, 1], [0.5, 2]], [[0, 1, 2], [1, 4, 2], [1, 3, 2]]
            ),
            r"edge \[1, 2\] belongs to 3 triangles",
        ),
        (
            lambda: Mesh(small_mesh().points, small_mesh().triangles, [20, 0]),
            r"electrodes\[1\] = 0 is not a node of the boundary",
        ),
        (
            lambda: Mesh(POINTS[:4], SQUARE, [0, 2, 0]),
            r"electrodes\[0\] and electrodes\[2\] are both node 0",
        ),
        (lambda: Mesh(POINTS[:4], SQUARE, [1]), r"electrodes must be \[L\], L >= 2, got \[1\]"),
        (
            lambda: Mesh(POINTS[:4], SQUARE, arcs=[[0, 1], [1, 0]]),
            r"arcs\[0\] and arcs\[1\] both cover the edge \[0, 1\]",
        ),
        (
            lambda: Mesh(POINTS[:4], SQUARE, arcs=[[0, 1], [0, 2]]),
            r"arcs\[1\] = \[0, 2\] covers no edge",
        ),
        (
            lambda: Mesh(small_mesh().points, small_mesh().triangles, arcs=[[20, 21], [0, 1]]),
            r"arcs\[1\]\[0\] = 0 is not a node of the boundary",
        ),
        (lambda: Mesh.disc("huge"), "resolution must be coarse or fine, got 'huge'"),
    ],
)
def test_bad_meshes(make, text):
    with pytest.raises(ValueError, match=text):
        make()


def test_indices_are_integers():
    with pytest.raises(TypeError, match="triangles must be integers, got float64"):
        Mesh(POINTS[:4], [[0.0, 1.0, 2.0]])


def with_value(value, *where):
    x = conductivity(EIT(small_mesh()), 3)
    x[where] = value
    return x


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda o: o(with_value(0.0, 1, 4)), ValueError, r"x\[1, 4\] = 0 is not positive"),
        (lambda o: o(with_value(-2.5, 2, 0)), ValueError, r"x\[2, 0\] = -2.5 is not positive"),
        (lambda o: o(with_value(torch.nan, 0, 3)), ValueError, r"x\[0, 3\] = nan is not finite"),
        (lambda o: o(with_value(torch.inf, 0, 3)), ValueError, r"x\[0, 3\] = inf is not finite"),
        (
            lambda o: o.gradient(with_value(-1.0, 1, 1), normal(3, 18)),
            ValueError,
            r"x\[1, 1\] = -1 is not positive",
        ),
        (lambda o: o.jacobian(with_value(-1.0, 1, 1)), ValueError, r"x\[1, 1\] = -1"),
        (lambda o: o(normal(3, 53)), ValueError, r"x must be \[..., 54\], got \[3, 53\]"),
        (
            lambda o: o.gauss_newton(normal(2, 17)),
            ValueError,
            r"y must be \[..., 18\], got \[2, 17\]",
        ),
        (
            lambda o: o.gauss_newton(normal(2, 18), regularisation=(0.1, 0.0)),
            ValueError,
            "regularisation must be positive",
        ),
        (lambda o: o(conductivity(o, 2), torch.ones(6)), ValueError, "no contact impedance"),
        (lambda o: o([1.0]), TypeError, "x must be a tensor, got list"),
        (lambda o: EIT("disc"), TypeError, "mesh must be a Mesh, got str"),
        (lambda o: EIT(small_mesh(), method="fast"), ValueError, "got 'fast'"),
        (lambda o: EIT(small_mesh(), minimum=0.0), ValueError, "minimum must be positive"),
        (lambda o: EIT(small_mesh(), drive="random"), ValueError, "adjacent, opposite.*'random'"),
        (lambda o: EIT(small_mesh(), drive="skip-5"), ValueError, "skips all of 6"),
        (
            lambda o: EIT(small_mesh(), measure=np.eye(6) - 0.1),
            ValueError,
            r"measure\[0\] sums to 0.4, a pattern must sum to zero",
        ),
        (
            lambda o: EIT(small_mesh(), drive=np.ones((2, 5))),
            ValueError,
            r"drive must be \[patterns, 6\], got \[2, 5\]",
        ),
        (
            lambda o: EIT(small_mesh(), drive=[[np.nan, 0, 0, 0, 0, 0]]),
            ValueError,
            r"drive\[0, 0\] = nan",
        ),
        (lambda o: EIT(small_mesh(), drive=np.zeros((1, 6))), ValueError, r"drive\[0\] is zero"),
        (
            lambda o: EIT(small_mesh(), drive="trigonometric", drop_driven=True),
            ValueError,
            "no measurement is left",
        ),
        (
            lambda o: EIT(small_mesh(), keep=np.ones((6, 5), bool)),
            ValueError,
            r"keep must be booleans \[6, 6\]",
        ),
        (
            lambda o: EIT(small_mesh(), contact=[1.0, 1, 1, 0, 1, 1]),
            ValueError,
            r"contact\[3\] = 0 is not positive",
        ),
        (
            lambda o: EIT(small_mesh(), contact=[1.0, 2.0]),
            ValueError,
            r"contact must be \[..., 6\], got \[2\]",
        ),
        (lambda o: EIT(Mesh(POINTS[:4], SQUARE)), ValueError, "the mesh has no electrodes"),
        (
            lambda o: EIT(Mesh(POINTS[:4], SQUARE, [0, 1, 2]), contact=1.0),
            ValueError,
            "needs arcs",
        ),
    ],
)
def test_bad_input(call, error, text):
    with pytest.raises(error, match=text):
        call(EIT(small_mesh()))


def test_trouble_is_not_looked_for_where_it_is_not_wanted():
    operator = EIT(small_mesh(), validate=False)
    voltages, status = operator.solve(with_value(torch.nan, 0, 3))
    assert status.tolist() == [4, 0, 0]
    assert voltages[1:].isfinite().all()
