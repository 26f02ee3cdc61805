"""Reading PyTorch files without PyTorch: equal to PyTorch, and deaf to what hostile files ask."""

import argparse
import collections
import io
import os
import pickle
import zipfile

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from augmax_jax.pytorch.files import read_state_dict


@pytest.fixture(scope="module")
def torch():
    return pytest.importorskip("torch")


def tensors(torch):
    """Tensors of every dtype and layout that a state_dict may hold."""
    torch.manual_seed(0)
    base = torch.randn(4, 6)
    result = collections.OrderedDict(
        {
            "whole": base,
            "transposed": base.T,
            "slice": base[1:3, ::2],
            "row": base[2],
            "scalar": torch.tensor(3),
            "empty": torch.zeros(0, 5),
            "parameter": torch.nn.Parameter(torch.randn(2, 3)),
            "kernel": torch.randn(3, 4, 2, 2).contiguous(memory_format=torch.channels_last),
        }
    )
    for dtype in ("float64", "float16", "bfloat16", "int64", "int32", "int16", "int8", "uint8"):
        result[dtype] = (torch.randn(5) * 10).to(getattr(torch, dtype))
    result["bool"] = torch.tensor([True, False])
    return result


def assert_equal(torch, ours, theirs):
    assert list(ours) == list(theirs)
    for name, tensor in theirs.items():
        tensor = tensor.detach()
        if tensor.dtype == torch.bfloat16:
            assert str(ours[name].dtype) == "bfloat16"
            tensor, array = tensor.float(), ours[name].astype(np.float32)
        else:
            array = ours[name]
        np.testing.assert_array_equal(array, tensor.numpy(), strict=True)


@pytest.fixture(params=["zip", "legacy"])
def save(request, torch, tmp_path):
    """Writes an object in one of PyTorch's two formats and returns the path."""

    def save(value):
        path = tmp_path / "checkpoint.pth"
        torch.save(value, path, _use_new_zipfile_serialization=request.param == "zip")
        return path

    return save


def test_every_dtype_and_layout(torch, save):
    path = save(tensors(torch))
    assert_equal(torch, read_state_dict(path), torch.load(path, weights_only=True))


def test_training_checkpoint(torch, save):
    """What surrounds the state_dict may be anything: placeholders take its place."""
    network = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4))
    optimizer = torch.optim.SGD(network.parameters(), 0.1, momentum=0.9)
    network(torch.randn(5, 3)).sum().backward()
    optimizer.step()
    scheduler = torch.optim.lr_scheduler.MultiStepLR(optimizer, [30, 60])
    checkpoint = {
        "epoch": 3,
        "model": network.state_dict(),
        "optimizer": optimizer.state_dict(),
        "scheduler": scheduler.state_dict(),
        "best_acc": np.float64(0.9),
        "args": argparse.Namespace(lr=0.1, names={"a"}),
        "device": torch.device("cpu"),
        "history": collections.defaultdict(list, loss=[1.0]),
    }
    path = save(checkpoint)
    assert_equal(torch, read_state_dict(path), network.state_dict())
    assert_equal(torch, read_state_dict(path, key="model"), network.state_dict())
    with pytest.raises(ValueError, match="under the key 'optimizer' is not a state_dict"):
        read_state_dict(path, key="optimizer")
    with pytest.raises(ValueError, match=r"no key 'ema'; the file has 'epoch', 'model', 'opt"):
        read_state_dict(path, key="ema")


def test_which_key(torch, save):
    one, two = {"w": torch.zeros(2)}, {"w": torch.ones(2)}
    assert_equal(torch, read_state_dict(save({"ema": two, "step": 1})), two)
    assert_equal(torch, read_state_dict(save({"ema": two, "state_dict": one})), one)
    with pytest.raises(ValueError, match="choose a key among teacher, student"):
        read_state_dict(save({"teacher": one, "student": two}))
    assert_equal(torch, read_state_dict(save({"a": one, "b": two}), key="b"), two)
    with pytest.raises(ValueError, match=r"no state_dict under any key; the file has 'a', 'b'"):
        read_state_dict(save({"a": 1, "b": [one]}))
    with pytest.raises(ValueError, match=r"holds no dictionary .*save model.state_dict"):
        read_state_dict(save(torch.nn.Linear(2, 2)))


def test_torchscript_is_named(torch, tmp_path):
    with zipfile.ZipFile(tmp_path / "script.pt", "w") as archive:
        archive.writestr("script/data.pkl", b"")
        archive.writestr("script/constants.pkl", b"")
    with pytest.raises(ValueError, match=r"TorchScript archive; save its state_dict"):
        read_state_dict(tmp_path / "script.pt")


@pytest.mark.parametrize("cut", [1, 10, 100, 300, 1000])
def test_truncated_file(torch, save, cut):
    path = save(tensors(torch))
    data = path.read_bytes()
    path.write_bytes(data[: len(data) - cut] if cut < 1000 else data[:cut])
    with pytest.raises(ValueError, match="is damaged"):
        read_state_dict(path)


def test_no_file_and_no_checkpoint(tmp_path):
    with pytest.raises(FileNotFoundError, match="no checkpoint file at"):
        read_state_dict(tmp_path / "a.pth")
    for name, data in (("a.pth", b""), ("b.pth", b"hello"), ("c.npz", b"x"), ("d.pth", b"PK12")):
        (tmp_path / name).write_bytes(data)
        with pytest.raises(ValueError, match="is not a PyTorch checkpoint"):
            read_state_dict(tmp_path / name)
    with zipfile.ZipFile(tmp_path / "photos.pth", "w") as archive:
        archive.writestr("a/cat.jpg", b"")
    with pytest.raises(ValueError, match=r"archive is not one of torch\.save"):
        read_state_dict(tmp_path / "photos.pth")


# Hostile files. Made by hand, so that these tests run without PyTorch.


class Call:
    """Pickles as a call of any function."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


class Storage:
    """Pickles as a reference to a storage."""

    def __init__(self, dtype="FloatStorage", key="0", size=4):
        self.identity = ("storage", Global("torch", dtype), key, "cpu", size)


class Global:
    """Pickles as a name to be imported."""

    def __init__(self, module, name):
        self.module, self.name = module, name

    def __reduce__(self):
        raise AssertionError("written by the pickler below")


class Pickler(pickle._Pickler):
    """Writes names that this process does not have."""

    def persistent_id(self, value):
        return value.identity if isinstance(value, Storage) else None

    def save(self, value, save_persistent_id=True):
        if isinstance(value, Global):
            self.write(f"c{value.module}\n{value.name}\n".encode())
        else:
            super().save(value, save_persistent_id)

    def save_reduce(self, func, args, *rest, **named):
        if isinstance(func, Global):
            self.save(func)
            self.save(args)
            self.write(pickle.REDUCE)
            return
        super().save_reduce(func, args, *rest, **named)


def tensor(offset=0, shape=(4,), strides=(1,), **storage):
    rebuild = Global("torch._utils", "_rebuild_tensor_v2")
    return Call(rebuild, Storage(**storage), offset, shape, strides, False, {})


def write(path, value, storage=bytes(16), compression=zipfile.ZIP_STORED):
    buffer = io.BytesIO()
    Pickler(buffer, 2).dump(value)
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr("archive/data.pkl", buffer.getvalue())
        archive.writestr("archive/data/0", storage)
    return path


def test_made_by_hand(tmp_path):
    data = np.arange(4, dtype=np.float32)
    path = write(tmp_path / "a.pth", {"w": tensor(1, (3,))}, data.tobytes())
    np.testing.assert_array_equal(read_state_dict(path)["w"], [1, 2, 3])


@pytest.mark.parametrize(
    "bad",
    [
        tensor(shape=(5,)),
        tensor(offset=1),
        tensor(offset=-1),
        tensor(shape=(2, 2), strides=(4, 1)),
        tensor(shape=(2,), strides=(-1,)),
        tensor(shape=(-1,)),
        tensor(shape=(1 << 40,), strides=(0,)),
        tensor(shape=(2, 2), strides=(1,)),
        tensor(size=5),
        tensor(size=1 << 60),
        tensor(key="1"),
        tensor(key="../../data.pkl"),
        tensor(dtype="ObjectStorage"),
    ],
)
def test_tensors_outside_their_storage(tmp_path, bad):
    path = write(tmp_path / "a.pth", {"w": bad})
    with pytest.raises(ValueError, match="is damaged"):
        read_state_dict(path)


def test_compressed_archive_is_refused(tmp_path):
    path = write(tmp_path / "a.pth", {"w": tensor()}, compression=zipfile.ZIP_DEFLATED)
    with pytest.raises(ValueError, match="is compressed"):
        read_state_dict(path)


CALLS = {
    "os.system": lambda mark: Call(os.system, f"touch {mark}"),
    "builtins.eval": lambda mark: Call(eval, f"open({str(mark)!r}, 'w')"),
    "builtins.exec": lambda mark: Call(exec, f"open({str(mark)!r}, 'w')"),
    "open": lambda mark: Call(open, str(mark), "w"),
    "getattr": lambda mark: Call(getattr, "text", "upper"),
    "numpy": lambda mark: Call(np.load, str(mark)),
    "import": lambda mark: Call(__import__, "antigravity"),
}


@pytest.mark.parametrize("name", CALLS)
def test_no_code_is_run(tmp_path, name):
    mark = tmp_path / "mark"
    call = CALLS[name](mark)
    # Beside a state_dict the call is ignored; inside it is an error. Neither makes it.
    path = write(tmp_path / "a.pth", {"state_dict": {"w": tensor()}, "other": [call]})
    np.testing.assert_array_equal(read_state_dict(path)["w"], np.zeros(4))
    path = write(tmp_path / "b.pth", {"w": tensor(), "v": call})
    with pytest.raises(ValueError, match="no state_dict"):
        read_state_dict(path)
    # The older format is a bare pickle.
    (tmp_path / "c.pth").write_bytes(pickle.dumps(call, 2))
    with pytest.raises(ValueError, match="is damaged"):
        read_state_dict(tmp_path / "c.pth")
    assert not mark.exists()
    # The calls do what they say where a pickle is trusted: the test would notice.
    if name in ("os.system", "builtins.eval"):
        pickle.loads(pickle.dumps(call, 2))
        assert mark.exists()


def test_state_cannot_reach_what_is_shared(tmp_path):
    """BUILD sets attributes on whatever is named; the next file must not see them."""
    dictionary = b"ccollections\nOrderedDict\n"
    poison = b"\x80\x02" + dictionary + b"(N}X\x05\x00\x00\x00itemsX\x01\x00\x00\x00xs\x86b."
    path = tmp_path / "a.pth"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", poison)
    with pytest.raises(ValueError, match=r"a\.pth"):
        read_state_dict(path)
    good = write(tmp_path / "b.pth", {"w": tensor()})
    np.testing.assert_array_equal(read_state_dict(good)["w"], np.zeros(4))
    assert collections.OrderedDict(a=1).items()


@pytest.fixture(scope="module")
def file_bytes(tmp_path_factory):
    folder = tmp_path_factory.mktemp("files")
    return folder, write(folder / "a.pth", {"w": tensor(), "v": tensor(1, (3,))}).read_bytes()


@settings(max_examples=150, deadline=None, database=None)
@given(st.lists(st.tuples(st.integers(0, 1 << 16), st.integers(0, 255)), min_size=1, max_size=4))
def test_any_damage_is_a_value_error(file_bytes, changes):
    folder, data = file_bytes
    damaged = bytearray(data)
    for place, value in changes:
        damaged[place % len(damaged)] = value
    path = folder / "damaged.pth"
    path.write_bytes(damaged)
    arrays, message = {}, None
    try:
        arrays = read_state_dict(path)
    except ValueError as error:
        message = str(error)
    assert message is None or "damaged.pth" in message
    assert all(isinstance(array, np.ndarray) for array in arrays.values())


def test_safetensors(tmp_path):
    numpy = pytest.importorskip("safetensors.numpy")
    rng = np.random.default_rng(0)
    arrays = {"a": rng.normal(size=(2, 3)).astype(np.float32), "b": np.array(3), "c": np.zeros(0)}
    arrays["d"] = np.array([True, False])
    for name in ("a.safetensors", "a.bin"):  # told by the suffix or by the contents
        numpy.save_file(arrays, tmp_path / name, {"format": "pt"})
        read = read_state_dict(tmp_path / name)
        assert set(read) == set(arrays)
        for key, array in arrays.items():
            np.testing.assert_array_equal(read[key], array, strict=True)
    data = (tmp_path / "a.safetensors").read_bytes()
    (tmp_path / "a.safetensors").write_bytes(data[:-1])
    with pytest.raises(ValueError, match="ends too early"):
        read_state_dict(tmp_path / "a.safetensors")


def test_npz_with_objects_is_refused(tmp_path):
    np.savez(tmp_path / "a.npz", w=np.array([Call(os.system, "true")], object))
    with pytest.raises(ValueError, match="is damaged"):
        read_state_dict(tmp_path / "a.npz")
