"""Checks as tests: `parametrize_with_checks`, and a module of tests for ``pytest --pyargs tier0.suite``."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tier0.core.catalogue import CATALOGUE, Check, Disturbance, select_checks
from tier0.core.client_catalogue import CLIENT_CATALOGUE, ClientCheck
from tier0.core.display import terminal
from tier0.core.errors import Tier0Error, first_line
from tier0.core.verdict import WORDS, CheckResult

if TYPE_CHECKING:
    from tier0.core.declaration import Declaration
    from tier0.runs.deployment import Deployment


class ParametrizedCheck:
    """One check of the catalogue, as the parameter of a test, which calls it with a deployment.

    Attributes:
        check: entry of the catalogue.
        result: result of the last call; None before the first.
        requests: time of each request (monotonic clock, in seconds), and whether there was a response.
        retried: number of requests that were sent again, by reason.
    """

    is_tier0_check = True

    def __init__(self, check: Check, disturb: Disturbance | None) -> None:
        self.check = check
        self.result: CheckResult | None = None
        self.requests: list[list[Any]] = []
        self.retried: dict[str, int] = {}
        self._disturb = disturb

    def __repr__(self) -> str:
        return self.check.id  # without an address: reports such as Allure's identify a test by its parameters

    def reset(self) -> None:
        """Discard the last result: tests that are parametrized with the same checks share them."""
        self.result, self.requests, self.retried = None, [], {}

    def __call__(self, deployment: Deployment) -> dict[str, Any]:
        """Run the check on *deployment*: fail the test if it fails, skip it if it is not checked.

        All checks of one deployment belong to one examination, as in `tier0.check_serving`.

        Returns:
            The evidence; empty if there is none.

        Raises:
            Tier0Error: the service does not respond, or its contract cannot be determined. Only the first
                check raises it; later ones skip their tests.
        """
        from tier0.runs.examination import examination_of  # noqa: PLC0415 - running a check imports httpx

        self.reset()
        examination = examination_of(deployment)
        if examination.failure is not None:
            pytest.skip(first_line(examination.failure))
        try:
            self.result = examination.ask(self.check, self._disturb)
        except Tier0Error as problem:
            self.result = CheckResult(self.check.id, "error", str(problem))
            raise
        self.requests, self.retried = examination.requests, examination.retried
        return _evidence_or_outcome(self.result)


class ParametrizedClientCheck:
    """One check of clients, as the parameter of a test, which calls it with the client's factory.

    Attributes:
        check: entry of the catalogue.
        result: result of the last call; None before the first.
        requests: always empty; requests of a client are not in the timeline of the run.
        retried: always empty.
    """

    is_tier0_check = True

    def __init__(self, check: ClientCheck) -> None:
        self.check = check
        self.requests: list[list[Any]] = []
        self.retried: dict[str, int] = {}
        self.result: CheckResult | None = None

    def __repr__(self) -> str:
        return self.check.id

    def reset(self) -> None:
        """Discard the last result, see `ParametrizedCheck.reset`."""
        self.result = None

    def __call__(
        self,
        factory: Callable[..., Any] | str,
        declare: Declaration | Mapping[str, Any] | Path | str | None = None,
    ) -> dict[str, Any]:
        """Check the client of *factory*, as `tier0.check_client` does; skip the test if it is not checked.

        Returns:
            The evidence; empty if there is none.
        """
        from tier0.runs.check_client import check_client  # noqa: PLC0415

        self.reset()
        self.result = check_client(factory, declare, only=[self.check.id], on_fail="return").checks[0]
        return _evidence_or_outcome(self.result)


def _evidence_or_outcome(result: CheckResult) -> dict[str, Any]:
    """Return the evidence of a check that passed; otherwise end the test with the check's outcome."""
    if result.status == "not_judged":
        pytest.skip(terminal(f"{WORDS[result.status]}: {result.message}"))
    if result.status != "pass":
        lines = [result.explain(), *result.evidence.get("timeline", ())]
        pytest.fail(terminal("\n".join(lines)), pytrace=False)
    return result.evidence


def parametrize_with_client_checks(only: Sequence[str] = ()) -> pytest.MarkDecorator:
    """Parametrize a test with the checks of clients.

        @tier0.parametrize_with_client_checks()
        def test_our_client(check):
            check("mypkg.client:make_client", "client.toml")

    Args:
        only: names of groups or of single checks; all checks by default.

    Raises:
        UnknownCheckError: a name is neither a group nor a check; pytest then cannot collect the module.
    """
    selected = select_checks(CLIENT_CATALOGUE, only)
    return pytest.mark.parametrize(
        "check", [pytest.param(ParametrizedClientCheck(check), id=check.id) for check in selected]
    )


def parametrize_with_checks(
    groups: Sequence[str] = (), *, disturb: Disturbance | None = None
) -> pytest.MarkDecorator:
    """Parametrize a test with the checks of a service, like scikit-learn's decorator of that name.

        @tier0.parametrize_with_checks()
        @pytest.mark.tier0_bentoml
        def test_serving(tier0_deployment, check):
            check(tier0_deployment)

    Args:
        groups: names of groups or of single checks; all checks by default.
        disturb: how far the deployment may be disturbed; the deployment's own level by default.

    Raises:
        UnknownCheckError: a name is neither a group nor a check; pytest then cannot collect the module.
    """
    selected = select_checks(CATALOGUE, groups)
    return pytest.mark.parametrize(
        "check", [pytest.param(ParametrizedCheck(check, disturb), id=check.id) for check in selected]
    )
