"""KServe's own clients against a running service; run by an interpreter that has kserve.

python kserve_calls.py HTTP_URL GRPC_ADDRESS KEY MODEL PICTURE
"""

import asyncio
import sys
from pathlib import Path

import numpy as np
from kserve import InferenceGRPCClient, InferenceRESTClient, InferInput, InferRequest
from kserve.inference_client import RESTConfig


def request_for(model, encoded):
    """Return an InferRequest of one encoded picture."""
    image = InferInput("image", [1], "BYTES")
    image.set_data_from_numpy(np.array([encoded], dtype=np.object_), binary_data=True)
    return InferRequest(model, [image], parameters={"top": 3})


def best(response):
    """Return labels and scores of an answer."""
    outputs = {output.name: output.as_numpy() for output in response.outputs}
    labels = [v.decode() if isinstance(v, bytes) else v for v in outputs["label"].ravel()]
    return labels, outputs["score"].ravel().tolist()


async def main(url, address, key, model, encoded):
    """Run every call of both clients."""
    headers = {"authorization": f"Bearer {key}"}
    rest = InferenceRESTClient(RESTConfig(protocol="v2"))
    assert await rest.is_server_live(url)
    assert await rest.is_server_ready(url)
    assert await rest.is_model_ready(url, model, headers=headers)
    sent = dict(headers)
    answer = await rest.infer(url, request_for(model, encoded), model_name=model, headers=sent)
    by_http = best(answer)
    await rest.close()
    grpc = InferenceGRPCClient(address)
    metadata = tuple(headers.items())
    assert await grpc.is_server_live()
    assert await grpc.is_server_ready()
    assert await grpc.is_model_ready(model, headers=metadata)
    by_grpc = best(await grpc.infer(request_for(model, encoded), headers=metadata))
    await grpc.close()
    assert by_http[0] == by_grpc[0], (by_http, by_grpc)
    assert np.allclose(by_http[1], by_grpc[1])
    print("ok", *by_http[0])


if __name__ == "__main__":
    http_url, grpc_address, token, name, path = sys.argv[1:]
    picture = Path(path).read_bytes()
    asyncio.run(main(http_url, grpc_address, token, name, picture))
