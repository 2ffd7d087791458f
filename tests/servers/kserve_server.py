"""KServe's Python server with ONNX Runtime behind it: ``python kserve_server.py MODEL HTTP GRPC``.

Runs in the environment of the model servers, without this project.
"""

import sys
from typing import Any

import kserve  # type: ignore[import-not-found]  # only the servers' environment has it
import onnxruntime  # type: ignore[import-untyped]
from kserve.protocol.infer_type import InferOutput  # type: ignore[import-not-found]

DATATYPES = {"float32": "FP32", "bool": "BOOL"}


class Model(kserve.Model):  # type: ignore[misc]  # without the library its class is Any
    """One model."""

    def __init__(self, path: str) -> None:
        super().__init__("m")
        self.session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        self.ready = True

    async def predict(self, payload: Any, *_more: Any, **_named: Any) -> Any:
        """Answer in the form that was asked for."""
        feed = {item.name: item.as_numpy() for item in payload.inputs}
        raw = payload.use_binary_outputs
        outputs = []
        for output, value in zip(
            self.session.get_outputs(), self.session.run(None, feed), strict=True
        ):
            item = InferOutput(output.name, list(value.shape), DATATYPES[value.dtype.name])
            item.set_data_from_numpy(value, binary_data=raw)
            outputs.append(item)
        return kserve.InferResponse(
            payload.id,
            self.name,
            outputs,
            use_binary_outputs=raw,
            requested_outputs=payload.request_outputs,
        )


if __name__ == "__main__":
    model, http, grpc = sys.argv[1:]
    kserve.ModelServer(http_port=int(http), grpc_port=int(grpc)).start([Model(model)])
