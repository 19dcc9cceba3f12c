"""The client generated from the protocol's own OpenAPI document, against a running service.

python open_inference_calls.py HTTP_URL GRPC_ADDRESS KEY MODEL PICTURE
"""

import base64
import sys
from pathlib import Path

import httpx
from open_inference.openapi.client import OpenInferenceClient
from open_inference.openapi.core.api_error import ApiError
from open_inference.openapi.types.inference_request import InferenceRequest


def main(url, key, model, encoded):
    """Run every call of the client."""
    headers = {"authorization": f"Bearer {key}"}
    client = OpenInferenceClient(base_url=url, httpx_client=httpx.Client(headers=headers))
    client.check_server_liveness()
    client.check_server_readiness()
    client.check_model_readiness(model)
    assert client.read_server_metadata().name == "clearsight"
    metadata = client.read_model_metadata(model)
    version = metadata.versions[0]
    client.check_model_version_readiness(model, version)
    assert client.read_model_version_metadata(model, version) == metadata
    text = base64.b64encode(encoded).decode()
    image = {"name": "image", "shape": [1], "datatype": "BYTES", "data": [text]}
    request = InferenceRequest(id="mine", inputs=[image], parameters={"top": 3})
    answer = client.model_infer(model, request=request)
    assert client.model_version_infer(model, version, request=request) == answer
    assert (answer.model_name, answer.model_version, answer.id) == (model, version, "mine")
    outputs = {output.name: output.data.__root__ for output in answer.outputs}
    assert words_of(client, request)
    print("ok", *outputs["label"])


def words_of(client, request):
    """Return what the client's error says."""
    try:
        client.model_infer("nobody", request=request)
    except ApiError as error:
        return error.body["error"]
    raise AssertionError("it was not refused")


if __name__ == "__main__":
    http_url, _, token, name, path = sys.argv[1:]
    main(http_url, token, name, Path(path).read_bytes())
