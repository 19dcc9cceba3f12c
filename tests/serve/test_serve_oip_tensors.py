"""Tensors, sizes and shapes before any transport."""

import json
import time
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clearsight.core.nouns import Prediction
from clearsight.serve.errors import RequestError
from clearsight.serve.limits import ServiceLimits
from clearsight.serve.oip.answer import prediction_of, tensors_of
from clearsight.serve.oip.json_body import read_infer
from clearsight.serve.oip.request import read_parameters, read_pictures
from clearsight.serve.oip.tensors import (
    DTYPES,
    Tensor,
    check_json_size,
    checked_shape,
    flat,
    join_elements,
    split_elements,
    volume,
)
from clearsight.serve.oip.wire import check_wire

LIMITS = ServiceLimits(pictures=4, pixels=10_000)


@given(st.lists(st.binary(max_size=50), max_size=5))
def test_bytes_come_back(elements):
    raw = join_elements(elements)
    assert split_elements(memoryview(raw), len(elements), "x") == elements


@given(st.binary(max_size=60), st.integers(0, 5))
def test_raw_bytes_give_elements_or_a_typed_error(raw, count):
    try:
        elements = split_elements(memoryview(raw), count, "x")
    except RequestError:
        return
    assert join_elements(elements) == raw


@given(st.lists(st.integers(0, 3), min_size=1, max_size=4))
def test_nested_and_flat_are_the_same(shape):
    values = np.arange(volume(tuple(shape))).reshape(shape)
    expected = values.ravel().tolist()
    assert flat(values.ravel().tolist(), tuple(shape), "x") == expected
    if values.size:
        assert flat(values.tolist(), tuple(shape), "x") == expected


@pytest.mark.parametrize(
    ("values", "shape"),
    [
        ("text", (4,)),
        ({}, (0,)),
        (None, (1,)),
        ([1, 2], (3,)),
        ([[1], [2, 3, 4]], (2, 2)),
        ([[1, 2], 3, 4], (2, 2)),
        ([[[1]], [[2]]], (1, 2)),
        ([[1, 2, 3, 4]], (2, 2)),
        ([{}], (1,)),
        ([], (10**18, 10**18)),
    ],
)
def test_lists_of_another_shape_are_refused(values, shape):
    with pytest.raises(RequestError):
        flat(values, shape, "x")


@pytest.mark.parametrize(
    "shape", [None, 3, "12", {}, [-1], [1.0], [True], ["1"], [2**63], [1] * 9, [[1]], [None]]
)
def test_shapes_that_are_none(shape):
    with pytest.raises(RequestError):
        checked_shape(shape, "x")


def test_every_output_is_packed_as_numpy_reads_it():
    one = Prediction(("猫", "b"), (0.75, 0.25), False, ("猫",), 0.3)
    for task in ("single-label", "multi-label", "ordinal"):
        for tensor in tensors_of([one, one], task):
            if tensor.datatype == "BYTES":
                elements = split_elements(memoryview(tensor.packed()), len(tensor.values), "x")
                assert [e.decode() for e in elements] == tensor.values
            else:
                values = np.frombuffer(tensor.packed(), DTYPES[tensor.datatype])
                assert values.reshape(tensor.shape).ravel().tolist() == tensor.values


def test_a_prediction_comes_back_from_its_tensors():
    for one, task in (
        (Prediction(("a", "b"), (0.75, 0.25), True), "single-label"),
        (Prediction(("a", "b"), (0.75, 0.25), False, ("a",)), "multi-label"),
        (Prediction(("a", "b"), (0.75, 0.25), True, None, 0.123456789), "ordinal"),
        (Prediction(("a",), (0.75,), True, set=("b", "猫", '"')), "single-label"),
        (Prediction(("a",), (0.75,), True, rank=0.5, set=()), "ordinal"),
    ):
        assert prediction_of({t.name: t.values for t in tensors_of([one], task)}) == one


@pytest.mark.parametrize(
    "tensor",
    [
        Tensor("imgae", "BYTES", (1,), values=["YQ=="]),
        Tensor("image", "UINT8", (1,), values=["YQ=="]),
        Tensor("image", "BYTES", (1, 1), values=["YQ=="]),
        Tensor("image", "BYTES", (0,), values=[]),
        Tensor("image", "BYTES", (5,), values=["YQ=="] * 5),
        Tensor("image", "BYTES", (2**62,), values=["YQ=="]),
        Tensor("image", "BYTES", (2,), values=["YQ=="]),
        Tensor("image", "BYTES", (1,), values=["YQ"]),
        Tensor("image", "BYTES", (1,), values=["猫"]),
        Tensor("image", "BYTES", (1,), values=[1]),
        Tensor("image", "BYTES", (1,), values=[None]),
        Tensor("image", "BYTES", (1,), raw=memoryview(b"")),
        Tensor("image", "BYTES", (1,), raw=memoryview(b"\xff\xff\xff\xffabc")),
        Tensor("image", "BYTES", (1,), raw=memoryview(b"\x01\0\0\0ab")),
        Tensor("pixels", "UINT8", (1, 2, 2, 1), raw=memoryview(bytes(4))),
        Tensor("pixels", "UINT8", (1, 2, 2, 3), raw=memoryview(bytes(11))),
        Tensor("pixels", "UINT8", (1, 0, 2, 3), raw=memoryview(b"")),
        Tensor("pixels", "UINT8", (1, 2**31, 2**31, 3), raw=memoryview(b"")),
        Tensor("pixels", "UINT8", (1, 101, 100, 3), raw=memoryview(bytes(30300))),
        Tensor("pixels", "UINT8", (1, 1, 1, 3), values=[1, 2, 256]),
        Tensor("pixels", "UINT8", (1, 1, 1, 3), values=[1, 2, -1]),
        Tensor("pixels", "UINT8", (1, 1, 1, 3), values=[1, 2, True]),
        Tensor("pixels", "UINT8", (1, 1, 1, 3), values=[1, 2, 3.0]),
        Tensor("pixels", "UINT8", (1, 1, 1, 3), values=[1, 2, 10**400]),
    ],
)
def test_inputs_that_are_refused(tensor):
    with pytest.raises(RequestError):
        read_pictures([tensor], LIMITS)
    with pytest.raises(RequestError):
        read_pictures([], LIMITS)


@pytest.mark.parametrize(
    "parameters",
    [
        {"tpo": 1},
        {"top": "3"},
        {"top": True},
        {"top": 1.5},
        {"top": float("inf")},
        {"top": None},
        {"priority": -1},
        {"timeout": -1},
        {"timeout": 2**80},
        {"sequence_id": 7},
        {"shared_memory_region": "x"},
    ],
)
def test_parameters_that_are_refused(parameters):
    with pytest.raises(RequestError):
        read_parameters(parameters)


def test_parameters_mean_something():
    assert read_parameters({"top": 3}).top == 3
    levels = [read_parameters({"priority": level}).priority for level in (0, 1, 2, 2**32 - 1)]
    assert levels == ["normal", "normal", "batch", "batch"]
    assert read_parameters({"timeout": 1500}).timeout_s == 0.0015
    assert read_parameters({"timeout": 0}).timeout_s is None


HOSTILE_JSON = {
    "lists": lambda: b'{"inputs":[' + b"[]," * 8_000_000 + b"[]]}",
    "objects": lambda: b'{"inputs":[' + b"{}," * 8_000_000 + b"{}]}",
    "inputs": lambda: b'{"inputs":[' + b'{"name":"image"},' * 100_000 + b'{"name":"image"}]}',
    "numbers": lambda: b'{"inputs":[{"name":"pixels","data":[' + b"1," * 10_000_000 + b"1]}]}",
    "depth": lambda: b'{"inputs":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "deep objects": lambda: b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
    "keys": lambda: b"{" + b",".join(b'"%d":1' % i for i in range(300_000)) + b"}",
    "digits": lambda: b'{"id":' + b"1" * 1_000_000 + b"}",
    "shape": lambda: (
        b'{"inputs":[{"name":"image","datatype":"BYTES","shape":[' + b"1," * 900_000 + b"1]}]}"
    ),
}


@pytest.mark.parametrize("case", HOSTILE_JSON)
def test_hostile_json_is_refused_quickly_and_without_memory(case):
    body = HOSTILE_JSON[case]()
    tracemalloc.start()
    started = time.monotonic()
    with pytest.raises(RequestError):
        read_pictures(read_infer(body, "").inputs, LIMITS)
    seconds, peak = time.monotonic() - started, tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 200_000_000, f"{peak:,} bytes, {seconds:.1f} s"


def test_without_the_bound_a_json_text_takes_many_times_its_size():
    body = HOSTILE_JSON["lists"]()[: 11 + 3 * 2**18] + b"[]]}"
    tracemalloc.start()
    value = json.loads(body)
    held = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert len(value) == 1
    assert held > 10 * len(body)
    with pytest.raises(RequestError):
        check_json_size(HOSTILE_JSON["lists"]())


HEADER = json.dumps(
    {
        "inputs": [
            {
                "name": "image",
                "datatype": "BYTES",
                "shape": [1],
                "parameters": {"binary_data_size": 5},
            }
        ]
    }
).encode()


@pytest.mark.parametrize(
    ("length", "tail"),
    [
        ("abc", b"\x01\0\0\0a"),
        ("-1", b"\x01\0\0\0a"),
        ("+5", b"\x01\0\0\0a"),
        ("١٢", b"\x01\0\0\0a"),
        ("9" * 30, b"\x01\0\0\0a"),
        (str(len(HEADER) - 1), b"\x01\0\0\0a"),
        (str(len(HEADER) + 1), b"\x01\0\0\0a"),
        (str(len(HEADER)), b"\x01\0\0\0"),
        (str(len(HEADER)), b"\x01\0\0\0ab"),
        (str(len(HEADER)), b""),
        ("", b"\x01\0\0\0a"),
    ],
)
def test_binary_headers_that_lie(length, tail):
    with pytest.raises(RequestError):
        read_pictures(read_infer(HEADER + tail, length).inputs, LIMITS)


def test_a_binary_header_that_tells_the_truth():
    body = read_infer(HEADER + b"\x01\0\0\0a", str(len(HEADER)))
    assert read_pictures(body.inputs, LIMITS) == [b"a"]


@pytest.mark.parametrize(
    "change",
    [
        {"id": 7},
        {"id": "x" * 257},
        {"id": "\ud800"},
        {"parameters": []},
        {"parameters": {"binary_data_output": 1}},
        {"outputs": {}},
        {"outputs": [{"name": 1}]},
        {"outputs": [{"name": "label", "parameters": {"classification": 3}}]},
        {"outputs": [{"name": "label", "parameters": {"binary_data": "yes"}}]},
        {"outputs": [{"nam": "label"}]},
        {"inputs": None},
        {"inputs": {}},
        {"inputs": [7]},
        {"inputs": [{"name": "image", "datatype": "BYTES", "shape": [1]}]},
        {"inputs": [{"name": "image", "shape": [1], "data": ["YQ=="]}]},
        {"inputs": [{"name": "image", "datatype": "BYTES", "data": ["YQ=="]}]},
        {"url": "http://127.0.0.1/"},
    ],
)
def test_json_requests_that_are_refused(change):
    image = {"name": "image", "datatype": "BYTES", "shape": [1], "data": ["YQ=="]}
    assert read_pictures(read_infer(json.dumps({"inputs": [image]}).encode(), "").inputs, LIMITS)
    body = json.dumps({"inputs": [image], **change}).encode()
    with pytest.raises(RequestError):
        read_pictures(read_infer(body, "").inputs, LIMITS)


@given(st.binary(max_size=200), st.sampled_from(["", "0", "1", "7", "50", "200"]))
@settings(max_examples=300)
def test_any_body_gives_pictures_or_a_typed_error(body, length):
    try:
        read_pictures(read_infer(body, length).inputs, LIMITS)
    except RequestError:
        return


def test_messages_of_too_many_parts_are_refused_before_parsing():
    for hostile in (
        b"\x2a\x00" * 1_000_000,  # empty inputs
        b"\x3a\x00" * 1_000_000,  # empty raw contents
        b"\x2a\x80\x80\x40" + b"\x18\x01" * (2**19),  # one input with a shape of 2^19 axes
        b"\x2a\x80\x80\x40" + b"\x1a\xfd\xff\x3f" + b"\x01" * (2**20 - 4),  # packed
        b"\x2a\xff\xff\xff\xff\x0f",  # longer than the message
        b"\x2b\x2c",  # groups
        b"\xff" * 20,
        b"\x2a",
    ):
        started = time.monotonic()
        with pytest.raises(RequestError):
            check_wire(hostile)
        assert time.monotonic() - started < 1


@given(st.binary(max_size=100))
def test_any_message_passes_or_gives_a_typed_error(message):
    try:
        check_wire(message)
    except RequestError:
        return
