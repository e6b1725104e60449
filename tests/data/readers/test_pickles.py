"""Skeleton pickles: every writer's arrays load, and nothing that a pickle names is run."""

import pickle
import re
import struct
from collections import OrderedDict, defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from epam_data.readers.pickles import load_pickle
from tests.data.raw_data import annotation

CONTENT = {
    "split": {"xsub_train": ["a", "ü"]},
    "annotations": [
        {
            "frame_dir": "ü",
            "label": np.int64(3),
            "img_shape": (1080, 1920),
            "keypoint": np.arange(12, dtype=np.float16).reshape(1, 3, 2, 2),
            "keypoint_score": np.asfortranarray(np.linspace(0, 1, 6, dtype=np.float32).reshape(1, 3, 2)),
            "flags": {1, 2},
            "frozen": frozenset({"x"}),
            "ratio": np.float32(0.5),
            "bytes": b"\x00\xff",
            "nothing": None,
            "strided": np.arange(10)[::2],
            "real": 1.5 + 2j,
            "no bytes": b"",
            "no raw bytes": bytearray(),
            "no numbers": np.zeros((0, 17, 2), np.float32),
            "text": np.str_("bow"),
            "flag": np.bool_(True),
            "raw": bytearray(b"\x01\x02"),
            "big-endian": np.arange(3, dtype=">i4"),
        }
    ],
}


def rename_module(data: bytes, old: bytes, new: bytes) -> bytes:
    """The pickle with a module renamed, whichever opcode holds its name."""
    data = data.replace(b"c" + old + b"\n", b"c" + new + b"\n")  # GLOBAL, protocols 0 to 3
    for width, opcode in (("<B", b"\x8c"), ("<I", b"X")):  # SHORT_BINUNICODE and BINUNICODE, from protocol 4 and 1
        data = data.replace(opcode + struct.pack(width, len(old)) + old, opcode + struct.pack(width, len(new)) + new)
    return data


def load_bytes(folder: Path, data: bytes) -> Any:
    path = folder / "skeletons.pkl"
    path.write_bytes(data)
    return load_pickle(path)


def unframed(content: Any, protocol: int) -> bytes:
    """Like `pickle.dumps`; small, so that no frame has to be resized when a name in it changes."""
    return (
        pickle._dumps(content, protocol)
        if protocol < 4
        else re.sub(rb"\x95.{8}", b"", pickle.dumps(content, protocol), flags=re.DOTALL)
    )


def assert_same(got: Any, expected: Any) -> None:
    assert isinstance(got, np.ndarray) if isinstance(expected, np.ndarray) else type(got) is type(expected)
    if isinstance(expected, dict):
        assert list(got) == list(expected)
        for name in expected:
            assert_same(got[name], expected[name])
    elif isinstance(expected, list):
        for one, other in zip(got, expected, strict=True):
            assert_same(one, other)
    elif isinstance(expected, np.ndarray):
        assert got.dtype.newbyteorder("=") == expected.dtype.newbyteorder("=")  # NumPy may swap the bytes
        np.testing.assert_array_equal(got, expected)
    else:
        assert got == expected


@pytest.mark.parametrize("core", ["numpy.core", "numpy._core"])
@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4, 5])
def test_arrays_of_both_numpy_generations_load(tmp_path: Path, core: str, protocol: int) -> None:
    data = unframed(CONTENT, protocol)
    for module in (b"multiarray", b"numeric"):
        for current in (b"numpy.core.", b"numpy._core."):
            data = rename_module(data, current + module, core.encode() + b"." + module)
    assert core.encode() + b".multiarray" in data
    other = {"numpy.core": b"numpy._core", "numpy._core": b"numpy.core"}[core]
    assert other + b"." not in data
    assert_same(load_bytes(tmp_path, data), CONTENT)


def test_an_array_of_python_2_loads(tmp_path: Path) -> None:
    """Python 2 wrote the array's bytes as a str (SHORT_BINSTRING), here 2.5 and -1 as float16."""
    values = np.array([2.5, -1], np.float16)
    data = (
        b"\x80\x02cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R"
        b"(K\x01K\x02\x85cnumpy\ndtype\nU\x02f2K\x00K\x01\x87R(K\x03U\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
        b"\x89U\x04" + values.tobytes() + b"tb."
    )
    assert_same(load_bytes(tmp_path, data), values)


class Runs:
    """Pickles as a call."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> Any:
        return self.call


@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
def test_a_pickle_that_runs_a_command_is_refused(tmp_path: Path, protocol: int) -> None:
    import os

    trap = tmp_path / "trap"
    content = [annotation("a", 0, np.zeros((1, 2, 17, 2), np.float16)), Runs(os.system, f"touch {trap}")]
    name = f"{os.system.__module__}.system"
    message = (
        f"skeletons.pkl: refused the global {name}; a skeleton pickle may hold "
        "arrays, numbers, strings and builtin containers only"
    )
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        load_bytes(tmp_path, pickle.dumps(content, protocol))
    assert not trap.exists()


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("builtins", "eval"),
        ("builtins", "exec"),
        ("builtins", "getattr"),
        ("builtins", "__import__"),
        ("__builtin__", "eval"),
        ("os", "system"),
        ("os", "path"),
        ("os", "path.join"),
        ("os.path", "join"),
        ("subprocess", "Popen"),
        ("functools", "partial"),
        ("operator", "attrgetter"),
        ("numpy", "load"),
        ("numpy", "ndarray.tofile"),
        ("numpy.core.multiarray", "fromfile"),
        ("numpy.core.multiarray", "_reconstruct.__globals__"),
        ("numpy._core.numeric", "fromfile"),
        ("numpy.f2py", "os"),
        ("codecs", "encode"),
        ("_codecs", "decode"),
        ("collections", "OrderedDict.fromkeys"),
        ("copyreg", "_reconstructor"),
        ("pickle", "loads"),
        ("torch", "load"),
    ],
)
@pytest.mark.parametrize("protocol", [2, 4])
def test_every_other_global_is_refused(tmp_path: Path, module: str, name: str, protocol: int) -> None:
    if protocol == 2:
        data = b"\x80\x02c" + f"{module}\n{name}\n".encode() + b"."
    else:  # two strings from the stack: a dotted name would be walked attribute by attribute
        names = b"".join(b"\x8c" + bytes([len(text)]) + text.encode() for text in (module, name))
        data = b"\x80\x04" + names + b"\x93."
    with pytest.raises(ValueError, match=rf"^skeletons\.pkl: refused the global {re.escape(f'{module}.{name}')}; "):
        load_bytes(tmp_path, data)


def test_an_instance_opcode_is_refused_too(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"refused the global os\.system; "):
        load_bytes(tmp_path, b"(S'true'\nios\nsystem\n.")


def test_the_only_codec_is_latin1(tmp_path: Path) -> None:
    assert load_bytes(tmp_path, b"\x80\x02c_codecs\nencode\nX\x01\x00\x00\x00aX\x06\x00\x00\x00latin1\x86R.") == b"a"
    with pytest.raises(ValueError, match=r"refused the codec 'rot13'"):
        load_bytes(tmp_path, b"\x80\x02c_codecs\nencode\nX\x01\x00\x00\x00aX\x05\x00\x00\x00rot13\x86R.")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "none.pkl"
    with pytest.raises(ValueError, match=f"^{re.escape(str(path))}: no such file, expected a skeleton pickle$"):
        load_pickle(path)


@pytest.mark.parametrize("data", [b"\x80\x04", b"\x80\x63.", b"\0", b"I\x01\n."])
def test_what_is_no_pickle_is_refused(tmp_path: Path, data: bytes) -> None:
    with pytest.raises(ValueError, match=r"^skeletons\.pkl: not a complete pickle \("):
        load_bytes(tmp_path, data)


@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_a_truncated_pickle_is_refused(tmp_path: Path, protocol: int) -> None:
    data = pickle.dumps(CONTENT, protocol)
    for length in range(0, len(data), 7):
        with pytest.raises(ValueError, match=r"^skeletons\.pkl: "):
            load_bytes(tmp_path, data[:length])


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=300, deadline=None)
@given(
    protocol=st.sampled_from([0, 2, 4]),
    flips=st.lists(st.tuples(st.floats(0, 0.999), st.integers(0, 255)), min_size=1, max_size=3),
)
def test_a_damaged_pickle_loads_or_is_refused(tmp_path: Path, protocol: int, flips: list[tuple[float, int]]) -> None:
    data = bytearray(pickle.dumps(CONTENT, protocol))
    for place, value in flips:
        data[int(place * len(data))] = value
    try:
        load_bytes(tmp_path, bytes(data))
    except ValueError as error:
        assert "skeletons.pkl: " in str(error)


def test_two_pickles_in_one_file_are_refused(tmp_path: Path) -> None:
    with pytest.raises(
        ValueError, match=r"^skeletons\.pkl: the pickle is followed by other data; save one object in a"
    ):
        load_bytes(tmp_path, pickle.dumps([1]) + pickle.dumps([2]))


# Hostile files


def text(value: str) -> bytes:
    return b"\x8c" + bytes([len(value)]) + value.encode()


def name_of(module: str, name: str) -> bytes:
    return text(module) + text(name) + b"\x93"


def dtype(kind: str, state: bytes = b"(K\x03" + text("|") + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00t") -> bytes:
    return name_of("numpy", "dtype") + text(kind) + b"\x89\x88\x87R" + state + b"b"


def array(kind: bytes, data: bytes, shape: bytes = b"K\x01\x85") -> bytes:
    made = name_of("numpy.core.multiarray", "_reconstruct") + name_of("numpy", "ndarray") + b"K\x00\x85C\x01b\x87R"
    return made + b"(K\x01" + shape + kind + b"\x89C" + bytes([len(data)]) + data + b"tb"


def call(module: str, name: str, *arguments: bytes) -> bytes:
    return name_of(module, name) + b"(" + b"".join(arguments) + b"tR"


POINTER = struct.pack("<Q", 0x414141414141)
BUFFER_OF_MEMO_0 = call("numpy.core.numeric", "_frombuffer", b"h\x00", dtype("i8"), b"K\x01\x85", text("C"))
STRUCTURED = b"(K\x03" + text("|") + b"N" + text("a") + b"\x85}" + b"K\x08K\x01K\x00t"


@pytest.mark.parametrize(
    ("what", "data", "reason"),
    [
        ("pointers of an array", array(dtype("O8"), POINTER), "an array of object, expected numbers"),
        ("pointers of a scalar", call("numpy.core.multiarray", "scalar", dtype("O8"), b"C\x08" + POINTER), "of object"),
        ("pointers named late", array(dtype("i8", STRUCTURED), POINTER), "a structured dtype"),
        (
            "more than its bytes",
            array(dtype("i8"), POINTER, b"J\xff\xff\xff\x7f\x85"),
            "an array of 8 bytes cannot have",
        ),
        ("a negative size", array(dtype("i8"), POINTER, b"J\xff\xff\xff\xff\x85"), "must be numbers >= 0"),
        ("a size that is a list", array(dtype("i8"), POINTER, b"]\x85"), "must be numbers >= 0"),
        ("many dimensions", array(dtype("i8"), POINTER, b"(" + b"K\x01" * 40 + b"t"), "a tuple of a few numbers"),
        (
            "a list of objects",
            array(dtype("i8"), POINTER).replace(b"C\x08" + POINTER, b"]"),
            "an array of list, expected",
        ),
        ("an array without a dtype", array(text("i8"), POINTER), "an array without a dtype"),
        ("an array that is called", call("numpy", "ndarray", b"J\xff\xff\xff\x7f\x85"), "not callable"),
        ("a view with strides", call("numpy", "ndarray", b"K\x09\x85", text("f4"), b"NK\x00K\x00\x85"), "not callable"),
        (
            "a large bytearray",
            call("builtins", "bytearray", b"J\xff\xff\xff\x7f"),
            "a bytearray of int, expected bytes",
        ),
        ("many bytes", call("builtins", "bytes", b"J\xff\xff\xff\x7f"), "bytes of int, expected bytes"),
        ("a complex number of text", call("builtins", "complex", text("1")), "must have two numbers"),
        (
            "a bytearray that grows below its array",
            b"\x96\x08" + b"\0" * 7 + POINTER + b"\x940" + BUFFER_OF_MEMO_0 + b"h\x00K\x01a",
            "Existing exports of data",
        ),
        ("a state for a function", name_of("builtins", "set") + b"}" + text("a") + b"K\x01sb", "a state for builtins"),
        (
            "attributes of a function",
            name_of("numpy.core.multiarray", "scalar") + b"N}" + text("__defaults__") + b")s\x86b",
            "a state for numpy.core.multiarray.scalar",
        ),
        (
            "attributes of a dict",
            call("collections", "OrderedDict") + b"}" + text("keys") + b"K\x01sb",
            "no attribute '__dict__'",
        ),
        ("a set of bytes", call("builtins", "set", b"C\x01a"), "a set of bytes, expected a list"),
        ("a factory that is called", call("builtins", "list", b"]"), "not callable"),
        ("a long name of a dtype", call("numpy", "dtype", text("f4," * 9)), "a dtype without a short name"),
        ("a wide string", call("numpy", "dtype", text("U9999999")), "expected numbers"),
        ("an array of nothing known", call("numpy.core.multiarray", "_reconstruct", text("x")), "of an unknown type"),
        ("deep lists", b"]" * 2_000_000 + b"a" * 1_999_999, ""),
        ("a long integer", b"I" + b"9" * 100_000 + b"\n", ""),
        ("a huge string", b"\x8d" + struct.pack("<Q", 1 << 62), ""),
        ("an entry of a registry", b"\x82\x01", ""),
        ("a persistent object", text("x") + b"Q", ""),
    ],
    ids=lambda value: value if isinstance(value, str) and value else "",
)
def test_hostile_bytes_are_refused(tmp_path: Path, what: str, data: bytes, reason: str) -> None:
    if what == "deep lists":
        assert load_bytes(tmp_path, b"\x80\x04" + data + b".") is not None
        return
    with pytest.raises(ValueError, match=rf"^skeletons\.pkl: not a complete pickle \(.*{re.escape(reason)}"):
        load_bytes(tmp_path, b"\x80\x04" + data + b".")


def test_what_is_said_of_a_file_is_short(tmp_path: Path) -> None:
    names = b"X" + struct.pack("<I", 100_000) + b"a" * 100_000
    with pytest.raises(ValueError) as caught:
        load_bytes(tmp_path, b"\x80\x04" + names + text("b") + b"\x93.")
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
@pytest.mark.parametrize(
    "values",
    [
        np.array([[1], [1, 2]], object),
        np.zeros(3, [("x", "f4"), ("y", "O")]),
        np.zeros((1, 2), [("x", "f4", (3,))]),
        np.zeros(2, "V8"),
        np.array([["a"]], object),
    ],
    ids=["ragged", "structure", "structure of arrays", "bytes of no kind", "table of text"],
)
def test_an_array_of_anything_else_is_emptied(tmp_path: Path, values: np.ndarray, protocol: int) -> None:
    """It costs its record, not the file."""
    first, second = load_bytes(tmp_path, pickle.dumps([values, np.arange(3)], protocol))
    assert first.dtype == object and first.shape == (0, 0) and second.tolist() == [0, 1, 2]


def test_the_fields_of_a_structure_are_not_built(tmp_path: Path) -> None:
    loaded = load_bytes(tmp_path, b"\x80\x04" + array(dtype("V8", STRUCTURED), POINTER) + b".")
    assert loaded.dtype == object and loaded.size == 0
    scalar = call("numpy.core.multiarray", "scalar", dtype("V8", STRUCTURED), b"C\x08" + POINTER)
    assert load_bytes(tmp_path, b"\x80\x04" + scalar + b".") is None


@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
def test_a_list_of_names_may_be_an_array_of_objects(tmp_path: Path, protocol: int) -> None:
    """As pandas gives it."""
    for names in (["a", "挥手"], []):
        loaded = load_bytes(tmp_path, pickle.dumps(np.array(names, object), protocol))
        assert loaded.dtype == object and loaded.shape == (len(names),) and loaded.tolist() == names


@pytest.mark.parametrize("protocol", [0, 2, 4])
@pytest.mark.parametrize("content", [defaultdict(list, a=[1]), OrderedDict(b=1, a=2), OrderedDict()])
def test_every_dict_is_a_plain_one(tmp_path: Path, content: dict[str, Any], protocol: int) -> None:
    assert_same(load_bytes(tmp_path, pickle.dumps(content, protocol)), dict(content))


def test_messages_name_types_as_numpy_does(tmp_path: Path) -> None:
    assert type(load_bytes(tmp_path, pickle.dumps(np.zeros(1)))).__name__ == "ndarray"


@pytest.mark.parametrize("data", [text("x") + b"Q", b"\x97"])
def test_what_is_said_of_a_file_is_one_line(tmp_path: Path, data: bytes) -> None:
    with pytest.raises(ValueError, match=r"^skeletons\.pkl: not a complete pickle \([^\n]+\)$"):
        load_bytes(tmp_path, b"\x80\x05" + data + b".")


def test_a_name_in_a_message_cannot_move_the_cursor(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"refused the global a\\x1b\[2J\.b; "):
        load_bytes(tmp_path, b"\x80\x04" + text("a\x1b[2J") + text("b") + b"\x93.")
