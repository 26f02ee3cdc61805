"""Reading PyTorch files without PyTorch: equal to PyTorch, and deaf to what hostile files ask."""

import argparse
import collections
import json
import logging
import os
import pickle
import struct
import zipfile

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from augmax_jax.pytorch.files import read_state_dict, state_dict_shapes
from tests.pytorch.pickles import Call, tensor, write
from tests.pytorch.pickles import save as save_by_hand


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
    for name, value in theirs.items():
        value = value.detach()
        if value.dtype == torch.bfloat16:
            assert str(ours[name].dtype) == "bfloat16"
            value, array = value.float(), ours[name].astype(np.float32)
        else:
            array = ours[name]
        np.testing.assert_array_equal(array, value.numpy(), strict=True)


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
    """Anything may surround the state_dict: placeholders replace it."""
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
    # An accuracy beside it does not make the outer dictionary the state_dict.
    net = {"w": torch.zeros(2), "b": torch.ones(1)}
    assert_equal(torch, read_state_dict(save({"accuracy": torch.tensor(0.9), "a": net})), net)
    nested = save({"state": {"model": net, "step": torch.tensor(3)}})
    assert_equal(torch, read_state_dict(nested, key="state.model"), net)
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


def test_no_file_and_a_directory(tmp_path):
    with pytest.raises(FileNotFoundError, match="no checkpoint file at"):
        read_state_dict(tmp_path / "a.pth")
    with pytest.raises(IsADirectoryError, match="is a directory: name the checkpoint file in it"):
        read_state_dict(tmp_path)


NO_CHECKPOINTS = {
    "empty": (b"", "it is empty"),
    "text": (b"epoch 1, loss 2.3\n", "is a text file, which begins with 'epoch 1, loss 2.3'"),
    "page": (b"<!DOCTYPE html><html>", "text file, .*was the download complete"),
    "lfs": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "git lfs pull"),
    "gzip": (b"\x1f\x8b" + bytes(30), "compressed with gzip"),
    "tar": (bytes(257) + b"ustar" + bytes(250), "is a tar archive"),
    "short": (b"hello", "or is damaged"),
    "half": (b"PK12", "or is damaged"),
    "pickle": (pickle.dumps({"w": 1}, 2), "pickle that torch.save did not write"),
}


@pytest.mark.parametrize("kind", NO_CHECKPOINTS)
def test_what_is_no_checkpoint(tmp_path, kind):
    data, message = NO_CHECKPOINTS[kind]
    path = tmp_path / "a.pth"
    path.write_bytes(data)
    with pytest.raises(ValueError, match=message) as caught:
        read_state_dict(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_archive_of_something_else(tmp_path):
    with zipfile.ZipFile(tmp_path / "photos.pth", "w") as archive:
        archive.writestr("a/cat.jpg", b"")
    with pytest.raises(ValueError, match=r"archive is not one of torch\.save"):
        read_state_dict(tmp_path / "photos.pth")
    (tmp_path / "c.npz").write_bytes(b"x")
    with pytest.raises(ValueError, match="is not a PyTorch checkpoint"):
        read_state_dict(tmp_path / "c.npz")


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_a_file_that_may_not_be_read(tmp_path):
    path = write(tmp_path / "a.pth", {"w": tensor()})
    path.chmod(0)
    with pytest.raises(OSError, match="cannot be read"):
        read_state_dict(path)


# Hostile files, made by hand, so that these tests run without PyTorch.


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
    # Beside a state_dict the call is ignored, inside it is passed over. Neither makes it.
    path = write(tmp_path / "a.pth", {"state_dict": {"w": tensor()}, "other": [call]})
    np.testing.assert_array_equal(read_state_dict(path)["w"], np.zeros(4))
    path = write(tmp_path / "b.pth", {"w": tensor(), "v": call})
    assert list(read_state_dict(path)) == ["w"]
    # The older format is a bare pickle.
    (tmp_path / "c.pth").write_bytes(pickle.dumps(call, 2))
    with pytest.raises(ValueError, match="did not write, or a damaged file"):
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


def test_entries_that_are_no_tensors_are_named(tmp_path, caplog):
    tree = {"state_dict": {"w": np.ones(2), "step": 3, "note": "x"}, "epoch": 7}
    path = save_by_hand(tmp_path / "a.pth", tree)
    with caplog.at_level(logging.INFO, "augmax_jax"):
        assert list(read_state_dict(path)) == ["w"]
    assert "ignored, because they are no tensors: step, note" in caplog.text


def test_shapes_of_all_dictionaries(tmp_path):
    inner = {"w": np.ones((2, 3)), "b": np.ones(3)}
    tree = {"scale": np.ones(()), "state": {"model": inner, "epoch": 1}, "ema": inner}
    assert state_dict_shapes(save_by_hand(tmp_path / "a.pth", tree)) == {
        "": {"scale": ()},
        "state.model": {"w": (2, 3), "b": (3,)},
        "ema": {"w": (2, 3), "b": (3,)},
    }


def test_a_dictionary_that_holds_itself(tmp_path):
    tree = {"w": tensor()}
    tree["more"] = tree
    assert list(read_state_dict(write(tmp_path / "a.pth", tree))) == ["w"]


def test_safetensors(tmp_path):
    numpy = pytest.importorskip("safetensors.numpy")
    rng = np.random.default_rng(0)
    arrays = {"a": rng.normal(size=(2, 3)).astype(np.float32), "b": np.array(3), "c": np.zeros(0)}
    arrays["d"] = np.array([True, False])
    arrays["half"] = np.ones(3, ml_dtypes.bfloat16)
    for name in ("a.safetensors", "a.bin"):  # told by the suffix or by the contents
        numpy.save_file(arrays, tmp_path / name, {"format": "pt"})
        read = read_state_dict(tmp_path / name)
        assert set(read) == set(arrays)
        for key, array in arrays.items():
            np.testing.assert_array_equal(read[key], array, strict=True)


def entry(dtype="F32", shape=(4,), offsets=(0, 16)):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets)}


@pytest.mark.parametrize(
    "header",
    [
        {"w": entry(offsets=(0, 20))},
        {"w": entry(offsets=(16, 32))},
        {"w": entry(offsets=(16, 0))},
        {"w": entry(offsets=(-16, 0))},
        {"w": entry(shape=(5,))},
        {"w": entry(shape=(1 << 40,))},
        {"w": entry(shape=(1 << 62, 1 << 62))},
        {"w": entry(), "v": entry()},
        {"w": entry("F8_E4M3", (16,))},
        {"w": {}},
        [],
    ],
)
def test_safetensors_that_declare_what_is_not_there(tmp_path, header):
    text = json.dumps(header).encode()
    path = tmp_path / "a.safetensors"
    path.write_bytes(struct.pack("<Q", len(text)) + text + bytes(16))
    with pytest.raises(ValueError, match="is damaged"):
        read_state_dict(path)


@pytest.mark.parametrize("size", [0, 1, 100, 1 << 40, (1 << 64) - 1])
def test_safetensors_with_another_length_of_header(tmp_path, size):
    path = tmp_path / "a.safetensors"
    path.write_bytes(struct.pack("<Q", size) + b'{"w":{}}')
    with pytest.raises(ValueError, match="is damaged"):
        read_state_dict(path)


def test_npz_with_objects_is_refused(tmp_path):
    np.savez(tmp_path / "a.npz", w=np.array([Call(os.system, "true")], object))
    with pytest.raises(ValueError, match="is damaged"):
        read_state_dict(tmp_path / "a.npz")
