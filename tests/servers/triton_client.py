"""Stock Triton clients ask a model server: ``python triton_client.py WAY ADDRESS [NAME=VALUE …]``.

Runs in the environment of the model servers, without this project. Prints one JSON object: what
each way of asking was told. The clients are as they come; what they do not show of an answer, its
metadata, is looked at where they take it from their library.
"""

import asyncio
import hashlib
import json
import queue
import sys
from typing import Any

import numpy as np

VALUES = np.array([[1, 2], [0.1, -3]], np.float32)
LARGE = np.arange(600_000, dtype=np.float32).reshape(-1, 2)
SECONDS = 20.0


def told(result: Any, metadata: Any = ()) -> dict[str, Any]:
    """The tensors of a result, and what came with it."""
    response = result.get_response()
    rest = isinstance(response, dict)
    outputs = {}
    for output in response["outputs"] if rest else response.outputs:
        name = output["name"] if rest else output.name
        array = result.as_numpy(name)
        outputs[name] = [array.dtype.name, list(array.shape), array.tobytes().hex()]
    return {"outputs": outputs, "metadata": dict(metadata)}


def inputs(module: Any, values: Any = VALUES, **named: Any) -> list[Any]:
    """The inputs of a request, in the form of one of the clients."""
    tensor = module.InferInput("x", list(values.shape), "FP32")
    tensor.set_data_from_numpy(values, **named)
    return [tensor]


def summed(result: Any) -> list[str]:
    """The digests of large outputs."""
    return [hashlib.sha256(result.as_numpy(name).tobytes()).hexdigest() for name in ("y", "big")]


def ask_grpc(address: str) -> dict[str, Any]:
    """Unary calls: in the foreground, in the background, asynchronous; and others that pass."""
    import tritonclient.grpc as module  # type: ignore[import-not-found]  # noqa: PLC0415
    import tritonclient.grpc.aio as coroutines  # type: ignore[import-not-found]  # noqa: PLC0415

    said: dict[str, Any] = {}
    client = module.InferenceServerClient(address)
    watched = client._client_stub.ModelInfer = Watched(client._client_stub.ModelInfer)
    said["ready"] = client.is_server_ready() and client.is_model_ready("m")
    said["metadata"] = [item.name for item in client.get_model_metadata("m").inputs]
    result = client.infer("m", inputs(module), request_id="1")
    said["infer"] = told(result, watched.last)
    said["bodies"] = {"infer": watched.body}
    done: queue.Queue[Any] = queue.Queue()
    client.async_infer("m", inputs(module), lambda result, error: done.put((result, error)))
    result, error = done.get(timeout=SECONDS)
    assert error is None, error
    said["in the background"] = told(result)
    try:
        client.infer("nobody", inputs(module))
    except module.InferenceServerException as refused:
        said["refused"] = [refused.status(), refused.message()]
    packed = client.infer("m", inputs(module), compression_algorithm="gzip")
    said["compressed"] = told(packed)
    said["large"] = summed(client.infer("m", inputs(module, LARGE)))
    try:
        client.infer("m", inputs(module), client_timeout=1e-6)
    except module.InferenceServerException as late:
        said["late"] = late.status()

    async def ask() -> Any:
        async with coroutines.InferenceServerClient(address) as other:
            return await other.infer("m", inputs(coroutines), client_timeout=SECONDS)

    said["asynchronous"] = told(asyncio.run(ask()))
    return said


class Watched:
    """A call of the client's stub that remembers what the last answer had as trailing metadata."""

    def __init__(self, call: Any) -> None:
        self.future = call.future
        self.last: list[Any] = []
        self.body = ""
        self._call = call.with_call

    def __call__(self, **named: Any) -> Any:
        """Ask."""
        self.body = named["request"].SerializeToString().hex()
        answer, call = self._call(**named)
        self.last = [(key, value) for key, value in call.trailing_metadata() if key[:2] == "x-"]
        return answer


def ask_stream(address: str) -> dict[str, Any]:
    """Triton's stream: three requests, and three answers in their order."""
    import tritonclient.grpc as module  # noqa: PLC0415

    client = module.InferenceServerClient(address)
    done: queue.Queue[Any] = queue.Queue()
    client.start_stream(lambda result, error: done.put((result, error)))
    for place in range(3):
        client.async_stream_infer("m", inputs(module), request_id=str(place))
    answers = []
    for _ in range(3):
        result, error = done.get(timeout=SECONDS)
        assert error is None, error
        answers.append([result.get_response().id, told(result)])
    responses = client._stream._response_iterator
    client.stop_stream()
    trailing = [(key, value) for key, value in responses.trailing_metadata() if key[:2] == "x-"]
    return {"answers": answers, "metadata": dict(trailing)}


async def ask_coroutine(address: str) -> Any:
    """The same over REST within an event loop."""
    import tritonclient.http.aio as module  # type: ignore[import-not-found]  # noqa: PLC0415

    async with module.InferenceServerClient(address) as client:
        return await client.infer("m", inputs(module), request_id="4")


def ask_http(address: str) -> dict[str, Any]:
    """Requests over REST: raw bytes after the JSON both ways, and JSON alone."""
    import tritonclient.http as module  # noqa: PLC0415

    client = module.InferenceServerClient(address)
    headers: list[Any] = []
    bodies: list[str] = []
    post = client._post

    def keep(*arguments: Any, **named: Any) -> Any:
        bodies.append(bytes(named.get("request_body", arguments[1:] and arguments[1])).hex())
        response = post(*arguments, **named)
        headers[:] = [(key, value) for key, value in response.items() if key[:2] == "x-"]
        return response

    client._post = keep
    said: dict[str, Any] = {"ready": client.is_server_ready()}
    result = client.infer("m", inputs(module), request_id="1")
    said["raw"] = told(result, headers)
    outputs = [module.InferRequestedOutput(name, binary_data=False) for name in ("y", "big")]
    result = client.infer(
        "m",
        inputs(module, binary_data=False),
        request_id="2",
        outputs=outputs,
        # KServe takes a body without a type for raw bytes.
        headers={"content-type": "application/json"},
    )
    said["JSON"] = told(result, headers)
    result = client.async_infer("m", inputs(module), request_id="3").get_result()
    said["in the background"] = told(result)
    said["bodies"] = dict(zip(("raw", "JSON"), bodies, strict=False))
    said["large"] = summed(client.infer("m", inputs(module, LARGE)))
    packed = client.infer("m", inputs(module), response_compression_algorithm="gzip")
    said["compressed"] = told(packed)
    try:
        client.infer("nobody", inputs(module))
    except module.InferenceServerException as refused:
        said["refused"] = [refused.status(), refused.message()]
    said["asynchronous"] = told(asyncio.run(ask_coroutine(address)))
    return said


def ask_once(protocol: str, address: str, headers: dict[str, str]) -> dict[str, Any]:
    """One request with headers of its own, by the client of a protocol."""
    if protocol == "grpc":
        import tritonclient.grpc as module  # noqa: PLC0415

        client = module.InferenceServerClient(address)
        watched = client._client_stub.ModelInfer = Watched(client._client_stub.ModelInfer)
        return told(client.infer("m", inputs(module), headers=headers), watched.last)
    import tritonclient.http as rest  # noqa: PLC0415

    other = rest.InferenceServerClient(address)
    answers: list[Any] = []
    post = other._post

    def keep(*arguments: Any, **named: Any) -> Any:
        answers.append(post(*arguments, **named))
        return answers[-1]

    other._post = keep
    result = other.infer("m", inputs(rest), headers=headers)
    return told(result, [(key, value) for key, value in answers[-1].items() if key[:2] == "x-"])


if __name__ == "__main__":
    ways = {"grpc": ask_grpc, "stream": ask_stream, "http": ask_http}
    way, where, *more = sys.argv[1:]
    if more:
        said = ask_once(way, where, dict(item.split("=", 1) for item in more))
    else:
        said = ways[way](where)
    sys.stdout.write(json.dumps(said))
