"""A client as it is often written: the time limit is for each read, and the status is not looked at."""

import httpx


class Client:
    """Asks the service for predictions."""

    def __init__(self, url: str, timeout: float = 1.0) -> None:
        self.http = httpx.Client(base_url=url, timeout=timeout)

    def predict(self, rows: list[dict[str, float]]) -> list[str]:
        """Return a prediction for each row."""
        return list(self.http.post("/predict", json={"rows": rows}).json()["predictions"])

    def close(self) -> None:
        """Close the connections."""
        self.http.close()


make_client = Client
