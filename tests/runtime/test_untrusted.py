"""Files that are made to do harm: refused by name, in little memory."""

import io
import json
import logging
import pickle
import struct
import tracemalloc
import zipfile
import zlib

import numpy as np
import pytest
from PIL import Image

from augmax_jax.data.images import BadImageError, read
from augmax_jax.pytorch.files import read_state_dict
from augmax_jax.runtime import files, untrusted
from augmax_jax.runtime.run_directory import read_history
from tests.pytorch.pickles import Call, Global, Storage, tensor, write, write_legacy

MIB = 2**20


@pytest.fixture
def little():
    """Fails if the test takes more memory than a small file may."""
    tracemalloc.start()
    yield
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < untrusted.allowed(0) + 32 * MIB


def npy_header(descr="'<f4'", shape="(4,)"):
    text = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}\n".encode()
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text


def archive(path, members, compression=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", compression) as file:
        for name, contents in members.items():
            file.writestr(name, contents)
    return path


HEADERS = {
    "terabytes": (npy_header(shape="(1 << 40,)".replace("1 << 40", str(1 << 40))), "bytes, not"),
    "negative": (npy_header(shape="(-4,)"), "a shape that no array can have"),
    "overflow": (npy_header(shape=f"({2**62}, {2**62})"), "no array can have|bytes, not"),
    "objects": (npy_header("'|O'"), "only plain numbers"),
    "structs": (npy_header("[('a', '<f4')]"), "only plain numbers"),
    "no width": (npy_header("'<U0'"), "only plain numbers"),
    "nested": (npy_header(shape="(" * 300 + ")" * 300), "no header of an array"),
    "code": (npy_header(shape="__import__('os')"), "no header of an array"),
    "long": (b"\x93NUMPY\x02\x00" + struct.pack("<I", 2**32 - 1), "no header of an array"),
    "nothing": (b"", "no header of an array"),
}


@pytest.mark.parametrize("name", HEADERS)
def test_headers_of_arrays(name, tmp_path, little):
    contents, message = HEADERS[name]
    path = archive(tmp_path / "a.npz", {"w.npy": contents + bytes(16)})
    with pytest.raises(ValueError, match=message):
        read_state_dict(path)
    alone = tmp_path / "a.npy"
    alone.write_bytes(contents)
    with pytest.raises(ValueError, match=r"a\.npy is damaged or no NumPy file"):
        untrusted.map_npy(alone)


def test_arrays_come_back_as_they_were(tmp_path):
    arrays = {
        "a": np.arange(6.0).reshape(2, 3),
        "b": np.asfortranarray(np.arange(6).reshape(2, 3)),
        "c": np.zeros((0, 3)),
        "d": np.array("text"),
        "e": np.float16(3),
    }
    for save in (np.savez, np.savez_compressed):
        save(tmp_path / "a.npz", **arrays)
        with untrusted.Bounded(tmp_path / "a.npz") as file:
            found = untrusted.read_npz(file)
        assert list(found) == list(arrays)
        for name, array in arrays.items():
            np.testing.assert_array_equal(found[name], array, strict=True)
    for name in "abc":
        np.save(tmp_path / "a.npy", arrays[name])
        np.testing.assert_array_equal(untrusted.map_npy(tmp_path / "a.npy"), arrays[name])


def test_bombs_in_archives(tmp_path, little):
    path = archive(tmp_path / "a.npz", {"w.npy": bytes(80 * MIB)}, zipfile.ZIP_DEFLATED)
    tracemalloc.clear_traces()
    with pytest.raises(ValueError, match=r"would take 83,886,080 bytes"):
        read_state_dict(path)
    # A member that says that it is small, and is not.
    contents = bytearray(path.read_bytes())
    for place in (22, contents.rfind(b"PK\x01\x02") + 24):
        contents[place : place + 4] = struct.pack("<I", 200)
    path.write_bytes(contents)
    with pytest.raises(ValueError, match="is damaged"):
        read_state_dict(path)


def test_members_that_overlap(tmp_path, little):
    path = archive(tmp_path / "a.npz", {f"{i}.npy": npy_header() + bytes(16) for i in range(3)})
    contents = bytearray(path.read_bytes())
    place = contents.find(b"PK\x01\x02")
    contents[place + 20 : place + 28] = struct.pack("<II", 10**9, 10**9)
    path.write_bytes(contents)
    with pytest.raises(ValueError, match=r"members overlap|is damaged"):
        read_state_dict(path)


def test_an_error_does_not_quote_the_file(tmp_path):
    path = tmp_path / "a.npz"
    np.savez(path, x=np.zeros(9_000, np.uint8))
    contents = bytearray(path.read_bytes())
    contents[26:28] = (8_000).to_bytes(2, "little")  # the length of the member's name
    path.write_bytes(contents)
    with untrusted.Bounded(path) as file, pytest.raises(untrusted.Damaged) as caught:
        untrusted.read_npz(file)
    assert str(caught.value).startswith("File name in directory")
    assert len(str(caught.value)) <= 200


def test_names_of_members_lead_nowhere(tmp_path):
    path = tmp_path / "in" / "a.npz"
    path.parent.mkdir()
    archive(path, {"../../out.npy": npy_header() + bytes(16), "/w.npy": npy_header() + bytes(16)})
    assert set(read_state_dict(path)) == {"../../out", "/w"}
    assert [found.name for found in tmp_path.rglob("*")] == ["in", "a.npz"]


def pth(path, program, storage=bytes(16)):
    return archive(path, {"a/data.pkl": program, "a/data/0": storage})


PROGRAMS = {
    "a memory of 2^31 places": b"\x80\x02}r" + struct.pack("<I", 2**31 - 1) + b".",
    "4 GB of bytes": b"\x80\x02B" + struct.pack("<I", 2**32 - 1) + b"x.",
    "2^60 bytes": b"\x80\x04\x8e" + struct.pack("<Q", 2**60) + b"x.",
    "2^60 characters": b"\x80\x04\x8d" + struct.pack("<Q", 2**60) + b"x.",
    "a frame of 2^60": b"\x80\x04\x95" + struct.pack("<Q", 2**60) + b".",
    "nothing to take": b"\x80\x02s.",
    "no end": b"\x80\x02}",
    "keys that take for ever to hash": b"\x80\x02})" + b"2\x86" * 60 + b"K\x01s.",
    "a text that takes for ever to write": b"\x80\x02)" + b"2\x86" * 60 + b"Q.",
    "numbers of many digits": b"\x80\x02L" + b"9" * 100_000 + b"L\n.",
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_pickles(name, tmp_path, little):
    path = pth(tmp_path / "a.pth", PROGRAMS[name])
    with pytest.raises(ValueError, match=r"a\.pth") as refusal:
        read_state_dict(path)
    assert len(str(refusal.value)) < 1000
    (tmp_path / "b.pth").write_bytes(PROGRAMS[name])
    with pytest.raises(ValueError, match=r"b\.pth"):
        read_state_dict(tmp_path / "b.pth")


@pytest.mark.parametrize("save", [write, write_legacy])
def test_many_tensors_of_one_storage(save, tmp_path, little):
    count = 2**16
    storage = bytes(4 * count)
    tree = {str(i): tensor(0, (count,), (1,), size=count) for i in range(450)}
    options = {"count": count} if save is write_legacy else {}
    path = save(tmp_path / "a.pth", tree, storage, **options)
    with pytest.raises(ValueError, match="its tensors would take 117,964,800 bytes"):
        read_state_dict(path)
    path = save(tmp_path / "b.pth", {"w": tree["0"], "v": tree["1"]}, storage, **options)
    assert read_state_dict(path)["v"].shape == (count,)


def test_a_storage_that_is_not_in_the_file(tmp_path, little):
    for size in (10**12, -1, 5):
        path = write(tmp_path / "a.pth", {"w": tensor(size=size)})
        with pytest.raises(ValueError, match="is damaged"):
            read_state_dict(path)
        path = write_legacy(tmp_path / "b.pth", {"w": tensor(size=size)}, count=abs(size))
        with pytest.raises(ValueError, match="is damaged"):
            read_state_dict(path)
    bad = Call(Global("torch._utils", "_rebuild_tensor_v2"), Storage(), 0, (4,) * 99, (0,) * 99)
    with pytest.raises(ValueError, match="is damaged"):
        read_state_dict(write(tmp_path / "c.pth", {"w": bad}))


def test_our_reader_and_pickle_agree(tmp_path):
    """On values without calls, in every protocol."""
    from augmax_jax.pytorch.pickled import describe

    shared = [1, 2]
    value = {
        "a": [1, -1, 2**40, 2**100, 0.5, None, True, False, "é", b"x", (), (1,), (1, 2, 3, 4)],
        "b": {"c": shared, 3: shared, None: {}, "long": "x" * 300},
        "d": [[], {}, list(range(2000))],
    }
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        simple = value if protocol >= 3 else value | {"a": value["a"][:9]}  # bytes are calls there
        stream = io.BytesIO(pickle.dumps(simple, protocol) + b"more")
        assert describe(stream, lambda *_: None, lambda _: None) == simple
        assert stream.read() == b"more"


def png(width, height):
    def chunk(kind, contents):
        check = struct.pack(">I", zlib.crc32(kind + contents))
        return struct.pack(">I", len(contents)) + kind + contents + check

    size = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    pixels = zlib.compress(bytes(1000))
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", size) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")
    )


def test_images_that_are_bombs(tmp_path, little, monkeypatch):
    path = tmp_path / "a.png"
    for size in ((30_000, 30_000), (2**31 - 1, 2**31 - 1), (10**9, 1)):
        path.write_bytes(png(*size))
        with pytest.raises(BadImageError, match=r"a\.png: "):
            read(path)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)  # as some programs do
    path.write_bytes(png(30_000, 30_000))
    with pytest.raises(BadImageError, match="30000x30000 pixels, more than are read"):
        read(path)


def test_no_other_program_decodes_an_image(tmp_path, monkeypatch):
    monkeypatch.setattr("subprocess.check_call", lambda *_, **__: pytest.fail("Ghostscript"))
    monkeypatch.setattr("os.system", lambda *_: pytest.fail("Ghostscript"))
    path = tmp_path / "a.png"
    Image.new("RGB", (20, 20)).save(path, "EPS")
    with pytest.raises(BadImageError, match="no image, or one of a format"):
        read(path)


@pytest.mark.parametrize(
    "text", ["[" * 100_000, "[" * 100 + "]" * 100, "9" * 10_000, "{", "\ud800", "nan", '{"a": }']
)
def test_json(text, tmp_path):
    path = tmp_path / "a.json"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    with pytest.raises(ValueError, match=r"a\.json is damaged .*; remove it or restore it"):
        files.read_json(path)


def test_a_history_keeps_its_sound_rows(tmp_path, recwarn):
    rows = ["[" * 100_000, json.dumps({"step": 1}), '{"step": ' + "9" * 9999 + "}", '{"step": 2}']
    (tmp_path / "history.jsonl").write_text("\n".join(rows))
    logging.captureWarnings(False)
    with pytest.warns(UserWarning, match="is damaged and was skipped"):
        assert [row["step"] for row in read_history(tmp_path)] == [1, 2]
