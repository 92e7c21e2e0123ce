"""The checks as tests: `parametrize_with_checks`, and a ready module of them for ``pytest --pyargs tier0.suite``."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tier0.core.catalogue import CATALOGUE, Check, Disturbance, select_checks
from tier0.core.client_catalogue import CLIENT_CATALOGUE, ClientCheck
from tier0.core.errors import Tier0Error, first_line
from tier0.core.verdict import WORDS, CheckResult

if TYPE_CHECKING:
    from tier0.core.declaration import Declaration
    from tier0.runs.deployment import Deployment


class AskedCheck:
    """One check of the catalogue, to be called with a deployment in a test.

    Attributes:
        check: of the catalogue.
        result: what came of it when it was asked last; None before that.
        requests: when it sent each of its requests, on the monotonic clock, and whether that was answered.
        retried: why requests of it were sent again, and how often.
    """

    is_tier0_check = True

    def __init__(self, check: Check, disturb: Disturbance | None) -> None:
        self.check = check
        self.result: CheckResult | None = None
        self.requests: list[list[Any]] = []
        self.retried: dict[str, int] = {}
        self._disturb = disturb

    def forget(self) -> None:
        """Begin anew: tests that are parametrized with the same checks share them."""
        self.result, self.requests, self.retried = None, [], {}

    def __call__(self, deployment: Deployment) -> dict[str, Any]:
        """Ask *deployment*: a check that fails fails the test, and one that is not checked skips it, with the reason.

        All checks of one deployment belong to one examination, as in `tier0.check_serving`.

        Returns:
            The evidence, where there is some.

        Raises:
            Tier0Error: nothing answers, or the contract is not clear. Only the first check raises it; later ones skip their tests.
        """
        from tier0.runs.examination import examination_of  # noqa: PLC0415 - the list of checks costs nothing, asking one imports httpx

        self.forget()
        examination = examination_of(deployment)
        if examination.failure is not None:
            pytest.skip(first_line(examination.failure))
        try:
            self.result = examination.ask(self.check, self._disturb)
        except Tier0Error as problem:
            self.result = CheckResult(self.check.id, "error", str(problem))
            raise
        self.requests, self.retried = examination.requests, examination.retried
        return _concluded(self.result)


class AskedClientCheck:
    """One check of clients, to be called with a factory in a test.

    Attributes:
        check: of the catalogue.
        result: what came of it when it was asked last; None before that.
    """

    is_tier0_check = True

    def __init__(self, check: ClientCheck) -> None:
        self.check = check
        self.requests: list[list[Any]] = []
        self.retried: dict[str, int] = {}
        self.result: CheckResult | None = None

    def forget(self) -> None:
        """Begin anew, see `AskedCheck.forget`."""
        self.result = None

    def __call__(
        self,
        factory: Callable[..., Any] | str,
        declare: Declaration | Mapping[str, Any] | Path | str | None = None,
    ) -> dict[str, Any]:
        """Judge the client that *factory* makes; see `tier0.check_client`. What is not judged skips the test, with the reason.

        Returns:
            The evidence, where there is some.
        """
        from tier0.runs.check_client import check_client  # noqa: PLC0415

        self.forget()
        self.result = check_client(factory, declare, only=[self.check.id], on_fail="return").checks[0]
        return _concluded(self.result)


def _concluded(result: CheckResult) -> dict[str, Any]:
    if result.status == "not_judged":
        pytest.skip(f"{WORDS[result.status]}: {result.message}")
    if result.status != "pass":
        pytest.fail("\n".join([result.explain(), *result.evidence.get("timeline", ())]), pytrace=False)
    return result.evidence


def parametrize_with_client_checks(only: Sequence[str] = ()) -> pytest.MarkDecorator:
    """Parametrize a test with the checks of clients.

        @tier0.parametrize_with_client_checks()
        def test_our_client(check):
            check("mypkg.client:make_client", "client.toml")

    Args:
        only: groups or single checks; all by default.

    Raises:
        UnknownCheckError: a name is neither; pytest then cannot collect the module.
    """
    chosen = select_checks(CLIENT_CATALOGUE, only)
    return pytest.mark.parametrize(
        "check", [pytest.param(AskedClientCheck(check), id=check.id) for check in chosen]
    )


def parametrize_with_checks(
    groups: Sequence[str] = (), *, disturb: Disturbance | None = None
) -> pytest.MarkDecorator:
    """Parametrize a test with the checks, as scikit-learn's decorator of that name does.

        @tier0.parametrize_with_checks()
        @pytest.mark.tier0_bentoml
        def test_serving(tier0_deployment, check):
            check(tier0_deployment)

    Args:
        groups: of the catalogue, or single checks; all by default.
        disturb: how far the deployment may be disturbed; as it says itself, by default.

    Raises:
        UnknownCheckError: a name is neither a group nor a check; pytest then cannot collect the module.
    """
    chosen = select_checks(CATALOGUE, groups)
    return pytest.mark.parametrize(
        "check", [pytest.param(AskedCheck(check, disturb), id=check.id) for check in chosen]
    )
