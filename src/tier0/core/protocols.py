"""Names of the protocols of model servers, and the smallest request and response of each."""

from collections.abc import Mapping
from typing import Any

PROTOCOLS = ("bentoml", "openapi", "mlflow", "v2", "v1", "sagemaker")
"""BentoML's own; JSON that OpenAPI describes; MLflow's scoring server; versions 2 and 1 of the Open Inference
Protocol; containers for SageMaker.
"""
PATHS_OF_MODELS = {
    "v2": r"/v2/models/[^/]+(/versions/[^/]+)?/infer$",
    "v1": r"/v1/models/[^/]+(/(versions|labels)/[^/]+)?:(predict|classify|regress)$",
}
"""Ends of the paths at which models are asked."""
REQUESTS: Mapping[str, Any] = {
    "mlflow": {"inputs": [[1.0, 2.0]]},
    "v2": {"inputs": [{"name": "input-0", "shape": [1, 2], "datatype": "FP64", "data": [1.0, 2.0]}]},
    "v1": {"instances": [[1.0, 2.0]]},
    "sagemaker": {"instances": [[1.0, 2.0]]},
}
"""Bodies of a request with one row of two numbers, for the protocols that prescribe it."""
RESPONSES: Mapping[str, Any] = {
    "mlflow": {"predictions": [1]},
    "v2": {
        "model_name": "m",
        "model_version": "1",
        "outputs": [{"name": "predict", "shape": [1, 1], "datatype": "INT64", "data": [1]}],
    },
    "v1": {"predictions": [1]},
    "sagemaker": {"predictions": [1]},
}
"""The responses to them."""
