"""Every call of tritonclient against a running service; also run by another interpreter.

python triton_calls.py HTTP_ADDRESS GRPC_ADDRESS KEY MODEL PICTURE
"""

import sys
from pathlib import Path

import numpy as np
import tritonclient.grpc as triton_grpc
import tritonclient.http as triton_http
from tritonclient.utils import InferenceServerException


def every_call(triton, address, key, model, encoded):
    """Return the labels and scores of one picture; fail where a call of the client fails."""
    client = triton.InferenceServerClient(address)
    headers = {"authorization": f"Bearer {key}"}
    as_json = {"as_json": True} if triton is triton_grpc else {}
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.get_server_metadata(**as_json)["name"] == "clearsight"
    assert client.is_model_ready(model, headers=headers)
    metadata = client.get_model_metadata(model, headers=headers, **as_json)
    assert [one["name"] for one in metadata["inputs"]] == ["image", "pixels"]
    version = metadata["versions"][0]
    assert client.is_model_ready(model, version, headers=headers)
    assert client.get_model_metadata(model, version, headers=headers, **as_json) == metadata
    config = client.get_model_config(model, version, headers=headers, **as_json)
    config = config.get("config", config)
    assert [one["name"] for one in config["input"]] == ["image", "pixels"]
    index = client.get_model_repository_index(headers=headers, **as_json)
    rows = index["models"] if isinstance(index, dict) else index
    assert [(row["name"], row["version"], row["state"]) for row in rows] == [
        (model, version, "READY")
    ]
    client.load_model(model, headers=headers)
    client.unload_model(model, headers=headers)
    found = infer(triton, client, model, encoded, headers)
    counted = client.get_inference_statistics(model, version, headers=headers, **as_json)
    assert int(counted["model_stats"][0]["inference_count"]) >= 4
    assert client.get_inference_statistics(headers=headers, **as_json)["model_stats"]
    refused(client, triton, model, encoded, headers)
    client.close()
    return found


def infer(triton, client, model, encoded, headers):
    """Send the picture every way the client knows; every answer must be the same."""
    image = triton.InferInput("image", [1], "BYTES")
    image.set_data_from_numpy(np.array([encoded], dtype=object))
    labels, scores = None, None
    outputs = [triton.InferRequestedOutput("score"), triton.InferRequestedOutput("label")]
    for more in (
        {},
        {"outputs": outputs},
        {"request_id": "mine", "priority": 1, "timeout": 5_000_000},
        {"priority": 7, "parameters": {"top": 5}},
    ):
        answer = client.infer(model, [image], headers=headers, **more)
        got = answer.as_numpy("label")[0].tolist(), answer.as_numpy("score")[0].tolist()
        assert labels in (None, got[0])
        assert scores in (None, got[1])
        labels, scores = got
        told = answer.get_response()
        told_id = told["id"] if isinstance(told, dict) else told.id
        assert "request_id" not in more or told_id == "mine"
    pixels = np.zeros((2, 40, 60, 3), np.uint8)
    pixels[0, :, :, 0] = pixels[1, :, :, 1] = 220
    tensor = triton.InferInput("pixels", list(pixels.shape), "UINT8")
    tensor.set_data_from_numpy(pixels)
    answer = client.infer(model, [tensor], headers=headers, parameters={"top": 1})
    assert answer.as_numpy("label").tolist() == [[b"red"], [b"green"]]
    assert answer.as_numpy("accepted").dtype == bool
    if triton is triton_http:
        headers = {k: v for k, v in headers.items() if k == "authorization"}  # infer added to it
        tensor.set_data_from_numpy(pixels, binary_data=False)
        asked = [triton.InferRequestedOutput("label", binary_data=False)]
        answer = client.infer(model, [tensor], headers=headers, outputs=asked)
        assert [row[0] for row in answer.as_numpy("label").tolist()] == ["red", "green"]
        flying = client.async_infer(model, [image], headers=headers)
        assert flying.get_result().as_numpy("label")[0].tolist() == labels
    return [label.decode() for label in labels], scores


def refused(client, triton, model, encoded, headers):
    """What is wrong comes back as the client's own error, with words in it."""
    image = triton.InferInput("image", [1], "BYTES")
    image.set_data_from_numpy(np.array([b"no picture"], dtype=object))
    wrong = {"authorization": "Bearer csk_wrong"}
    for call in (
        lambda: client.infer(model, [image], headers=headers),
        lambda: client.infer(model, [image], headers=wrong),
        lambda: client.infer("nobody", [image], headers=headers),
        lambda: client.infer(model, [image], model_version="nothing", headers=headers),
        lambda: client.infer(model, [image], sequence_id=7, headers=headers),
        lambda: client.load_model("nobody", headers=headers),
        lambda: client.load_model(model, config="{}", headers=headers),
        lambda: client.get_model_metadata("nobody", headers=headers),
    ):
        message = words_of(call)
        assert len(message) > 10, message


def words_of(call):
    """Return what the client's error says."""
    try:
        call()
    except InferenceServerException as error:
        return error.message()
    raise AssertionError("it was not refused")


if __name__ == "__main__":
    http_address, grpc_address, token, name, path = sys.argv[1:]
    picture = Path(path).read_bytes()
    by_http = every_call(triton_http, http_address, token, name, picture)
    by_grpc = every_call(triton_grpc, grpc_address, token, name, picture)
    assert by_http == by_grpc, (by_http, by_grpc)
    print("ok", *by_http[0])
