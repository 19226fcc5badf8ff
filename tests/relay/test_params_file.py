"""Parameter files: the fixtures' arrays, TVM's own reader and writer, and files that lie."""

from __future__ import annotations

import struct
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
import tvm

from gacer_tvm.errors import RelayError
from gacer_tvm.relay import load_param_dict, load_params, save_param_dict, save_params

MAGIC = 0xF7E58D4F05049CB7
RECORD = 0xDD5E40F096B4A13F


@pytest.mark.parametrize("name", ["mlp", "mixed"])
def test_the_fixtures_decode_to_their_arrays_and_back_to_their_bytes(shared_dir: Path, name: str) -> None:
    path = shared_dir / "relay" / "fixtures" / f"{name}.params"
    found, truth = load_params(path), np.load(f"{path}.npz")
    assert set(found) == set(truth.files)
    for key, array in found.items():
        assert (array.dtype, array.shape) == (truth[key].dtype, truth[key].shape)
        assert np.array_equal(array, truth[key])
    assert save_params(found) == path.read_bytes()


def _arrays() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    arrays = {
        dtype: rng.integers(0, 2, (2, 3)).astype(dtype)
        for dtype in ["float16", "float32", "float64", "int8", "int16", "int32", "int64", "uint8", "uint32", "bool"]
    }
    return {**arrays, "scalar": np.array(1.5, np.float32), "empty": np.zeros((2, 0), np.float32), "ü/0": np.ones(1)}


def test_tvm_reads_what_we_write() -> None:
    arrays = _arrays()
    # Today's TVM reads neither tensors without elements nor booleans as Relay's wrote them (it calls them uint1).
    del arrays["empty"], arrays["bool"]
    found = tvm.runtime.load_param_dict(save_params(arrays))
    assert set(found) == set(arrays)
    for key, array in arrays.items():
        assert np.array_equal(found[key].numpy(), array)


def test_we_read_what_tvm_writes() -> None:
    arrays = _arrays()
    written = tvm.runtime.save_param_dict({key: tvm.runtime.tensor(value) for key, value in arrays.items()})
    found = load_param_dict(bytes(written))
    assert set(found) == set(arrays)
    for key, array in arrays.items():
        assert found[key].dtype == array.dtype
        assert np.array_equal(found[key], array)


def test_files(tmp_path: Path) -> None:
    path = tmp_path / "a.params"
    content = save_params({"b": np.arange(3), "a": np.arange(6).reshape(2, 3).T}, path)
    assert path.read_bytes() == content
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.params"]
    found = load_params(path)
    assert list(found) == ["b", "a"]
    assert np.array_equal(found["a"], np.arange(6).reshape(2, 3).T)
    found["a"][0, 0] = 7
    assert save_param_dict({}) == bytearray(save_params({}))


def test_bfloat16_and_big_endian() -> None:
    half = np.array([1.5, -2], ml_dtypes.bfloat16)
    found = load_params(save_params({"h": half, "big": np.arange(3, dtype=">i4")}))
    assert found["h"].dtype == half.dtype and np.array_equal(found["h"], half)
    assert np.array_equal(found["big"], np.arange(3))


@pytest.mark.parametrize("value", [np.zeros(2, np.complex64), np.array(["a"]), object()])
def test_what_the_format_does_not_have(value: object) -> None:
    with pytest.raises(RelayError, match="'x'"):
        save_params({"x": value})


def _file(count: int, names: bytes, arrays: int, rest: bytes) -> bytes:
    return struct.pack("<QQQ", MAGIC, 0, count) + names + struct.pack("<Q", arrays) + rest


def _tensor(
    shape: tuple[int, ...], nbytes: int, data: bytes = b"", code: int = 2, bits: int = 32, ndim: int = -1
) -> bytes:
    head = struct.pack("<QQiiiBBH", RECORD, 0, 1, 0, len(shape) if ndim < 0 else ndim, code, bits, 1)
    return head + struct.pack(f"<{len(shape) + 1}q", *shape, nbytes) + data


NAME = struct.pack("<Q", 1) + b"a"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "too short"),
        (b"\0" * 24, "magic number"),
        (struct.pack("<QQQ", MAGIC, 0, 1 << 62), "claims 4611686018427387904 names"),
        (struct.pack("<QQQQ", MAGIC, 0, 1, 1 << 63) + b"a", "claims 9223372036854775808 bytes"),
        (struct.pack("<QQQQ", MAGIC, 0, 1, 2) + b"\xff\xfe" + b"\0" * 8, "not UTF-8"),
        (_file(1, NAME, 2, b""), "1 names but 2 tensors"),
        (_file(2, NAME * 2, 2, _tensor((1,), 4, b"\0" * 4) * 2), "'a' twice"),
        (_file(1, NAME, 1, b"\0" * 10), "cut off"),
        (_file(1, NAME, 1, b"\0" * 60), "no tensor of TVM"),
        (_file(1, NAME, 1, _tensor((1 << 62,), 1 << 62)), "impossible shape"),
        (_file(1, NAME, 1, _tensor((1 << 40,), 4 << 40)), "bytes of data, but only 0"),
        (_file(1, NAME, 1, _tensor((-1,), 4, b"\0" * 4)), "negative dimension"),
        (_file(1, NAME, 1, _tensor((2,), 4, b"\0" * 8)), "states 4 bytes"),
        (_file(1, NAME, 1, _tensor((1,), 4, b"\0" * 4, code=9)), "not supported"),
        (_file(1, NAME, 1, _tensor((1,), 4, b"\0" * 4, ndim=1 << 30)), "claims 1073741824 dimensions"),
        (_file(1, NAME, 1, _tensor((1,), 4, b"\0" * 4, ndim=-5)), None),
        (_file(1, NAME, 1, _tensor((1,), 4, b"\0" * 2)), "only 2 are left"),
    ],
)
def test_files_that_lie(content: bytes, words: str | None) -> None:
    if words is None:
        # ndim below zero, not the default of the helper.
        content = content.replace(struct.pack("<iBBH", 1, 2, 32, 1), struct.pack("<iBBH", -5, 2, 32, 1))
        words = "claims -5 dimensions"
    with pytest.raises(RelayError, match=words):
        load_params(content)


def test_every_cut_is_noticed(shared_dir: Path) -> None:
    content = (shared_dir / "relay" / "fixtures" / "mixed.params").read_bytes()
    for length in range(len(content)):
        with pytest.raises(RelayError):
            load_params(content[:length])


def test_missing_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(RelayError, match=r"none\.params"):
        load_params(tmp_path / "none.params")
    with pytest.raises(RelayError, match="cannot be written"):
        save_params({}, tmp_path / "no" / "such" / "folder.params")
