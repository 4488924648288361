"""Products and batches, on the host and on the stand-in for a device."""

from __future__ import annotations

import numpy as np
import pytest

from gpustitch.array import product
from gpustitch.array.product import batches, matmul_rows, product_along_columns, product_along_rows
from tests.cuda_cpu import shim


@pytest.mark.parametrize("shape", [(1, 1, 1), (32, 128, 5), (70, 300, 150), (33, 129, 1000)])
def test_product_in_pieces_is_the_product(shape):
    rows, n, columns = shape
    rng = np.random.default_rng(0)
    x, matrix = rng.random((rows, n), np.float32), rng.random((n, columns), np.float32)
    np.testing.assert_allclose(matmul_rows(x, matrix), x @ matrix, rtol=1e-5)
    with shim.installed():
        on_device = matmul_rows(shim.asarray(x), shim.asarray(matrix))
        np.testing.assert_allclose(shim.asnumpy(on_device), x @ matrix, rtol=1e-5)


def test_product_takes_strided_rows():
    x, matrix = np.arange(80, dtype=np.float32).reshape(4, 2, 10), np.eye(7, 3, dtype=np.float32)
    np.testing.assert_array_equal(matmul_rows(x[:, 1, :7], matrix), x[:, 1, :3])


def test_products_over_windows():
    rng = np.random.default_rng(1)
    x, matrix = rng.random((9, 40), np.float32), rng.random((6, 4), np.float32)
    out = np.empty((9, 16), np.float32)
    product_along_columns(x, matrix, out, 3)
    for block in range(4):
        np.testing.assert_allclose(
            out[:, 4 * block : 4 * block + 4], x[:, 3 * block : 3 * block + 6] @ matrix, rtol=1e-5
        )
    turned = np.empty((16, 9), np.float32)
    product_along_rows(np.ascontiguousarray(matrix.T), np.ascontiguousarray(x.T), turned, 3)
    np.testing.assert_allclose(turned, out.T, rtol=1e-5)


def test_batches_cover_all_frames(monkeypatch):
    frames = np.zeros((7, 4, 5), np.uint16)
    assert list(batches(frames)) == [slice(i, i + 1) for i in range(7)]
    with shim.installed():
        on_device = shim.asarray(frames)
        assert list(batches(on_device)) == [slice(0, product._DEVICE_PIXELS // 20)]
        monkeypatch.setattr(product, "_DEVICE_PIXELS", 60)
        assert list(batches(on_device)) == [slice(0, 3), slice(3, 6), slice(6, 9)]
        monkeypatch.setattr(product, "_DEVICE_PIXELS", 3)
        assert len(list(batches(on_device))) == 7
