"""requests, with the retries of urllib3."""

import requests
from requests.adapters import HTTPAdapter
from urllib3.util import Retry


class Client:
    def __init__(self, url, *, timeout):
        self.url, self.timeout = url.rstrip("/"), timeout
        self.session = requests.Session()
        retry = Retry(total=2, backoff_factor=0.1, status_forcelist=[502, 503, 504], allowed_methods={"POST"})
        adapter = HTTPAdapter(pool_maxsize=20, pool_block=True, max_retries=retry)
        self.session.mount("http://", adapter)

    def predict(self, data):
        response = self.session.post(f"{self.url}/predict", json=data, timeout=self.timeout)
        response.raise_for_status()
        return response.json()["predictions"]

    def close(self):
        self.session.close()
