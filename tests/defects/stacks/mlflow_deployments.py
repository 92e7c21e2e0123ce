"""The deployments client of MLflow, for its gateway."""

import os

from mlflow.deployments import get_deploy_client


class Client:
    def __init__(self, url, *, timeout):
        os.environ["MLFLOW_DEPLOYMENT_PREDICT_TIMEOUT"] = str(timeout)
        os.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"] = "2"
        os.environ["MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR"] = "0"
        self.client = get_deploy_client(url)

    def predict(self, data, *, model="m"):
        return self.client.predict(endpoint=model, inputs=data)["predictions"]
