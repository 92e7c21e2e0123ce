"""The client of boto3 for endpoints of SageMaker."""

import json

import boto3
from botocore.config import Config


class Client:
    def __init__(self, url, *, timeout):
        config = Config(
            read_timeout=timeout, connect_timeout=timeout, max_pool_connections=20,
            retries={"mode": "standard", "total_max_attempts": 3},
        )  # fmt: skip
        self.runtime = boto3.client(
            "sagemaker-runtime", endpoint_url=url, region_name="eu-central-1", config=config,
            aws_access_key_id="id", aws_secret_access_key="key",
        )  # fmt: skip

    def predict(self, data, *, model="m"):
        body, kind = json.dumps(data), "application/json"
        response = self.runtime.invoke_endpoint(EndpointName=model, Body=body, ContentType=kind)
        return json.load(response["Body"])["predictions"]

    def close(self):
        self.runtime.close()
