"""What a recorded run within a process gives: the outputs, and where they are recorded."""

from dataclasses import dataclass

from registry.core.profiles.open_inference import InferenceResponse
from registry.core.profiles.tensor import Tensor
from registry.inspection.arrays import Array
from registry.shim.recorder.asking import Proven

NOWHERE = -1
"""Instead of the number of a record that is not known, or does not exist."""

NOT_ASKED = Proven()
"""Nobody asked for a level."""


@dataclass(frozen=True, slots=True, eq=False)
class Answer:
    """The outputs of one run, and where they are recorded.

    Attributes:
        outputs: What the session returned.
        tensors: The same as profiles see it.
        content_digest: The digest that names the output.
        n: The number of the completion in the shim's journal; :data:`NOWHERE` if it follows later,
            or will never be there.
        model_name: The release that answered, as ``name@version``.
        proven: How far the record came on its way to the level that was asked for.
    """

    outputs: list[Array]
    tensors: tuple[Tensor, ...]
    content_digest: bytes
    n: int
    model_name: str
    proven: Proven = NOT_ASKED

    def to_json(self) -> bytes:
        """The outputs as a file from which anybody can find the content digest again.

        Raises:
            MalformedError: ``PROFILE`` for outputs that JSON cannot hold, such as NaN.
        """
        return InferenceResponse(self.model_name, self.tensors).to_bytes()
