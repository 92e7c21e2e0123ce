"""Does it run what it is sent?"""

from __future__ import annotations

from tier0.checks.serving.target import Target
from tier0.core.verdict import CheckFailedError

NONE_AS_PICKLE = b"\x80\x04N."
REFUSED = range(400, 500)


async def refuses_pickle(target: Target) -> None:
    """Fail where a pickled body is not refused: whoever can send one runs code in the service."""
    response = await target.post(NONE_AS_PICKLE, "application/vnd.bentoml+pickle")
    if response.status_code not in REFUSED:
        message = f"a pickled body is answered with {response.status_code}, not refused: whoever can reach the service may run code in it"
        causes = ["a version of BentoML with CVE-2025-27520 or CVE-2025-32375", "a service that unpickles what it gets"]
        raise CheckFailedError(message, evidence={"status": response.status_code}, causes=causes)
