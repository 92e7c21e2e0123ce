"""The list of defects, compiled before the checks, and how each is tested.

Kinds: S (silent), a response with status 200 that is wrong or comes from the wrong model; Q (quiet), wrong health
status, telemetry or clean-up without an error; L (loud), an error.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from tests.defects.model_client import FLAWS, TRACED

Sort = Literal["mutant", "prevented", "out of reach", "judged"]


@dataclass(frozen=True)
class Defect:
    """One defect.

    Attributes:
        id: id in the list.
        kind: S, Q, L, or two of them.
        what: description.
        sort: ``mutant`` (injected into a deployment, where a check must detect it), ``prevented`` (impossible in Tier0
            itself, as a test shows), ``out of reach`` (cannot be observed), ``judged`` (injected into a client, where a
            client check must detect it).
        reason: test that prevents the defect, or why it is out of reach; empty for a mutant.
    """

    id: str
    kind: str
    what: str
    sort: Sort
    reason: str = ""

    @property
    def is_silent(self) -> bool:
        """Whether the defect can lead to a wrong response with status 200."""
        return "S" in self.kind


def seen(id_: str, kind: str, what: str) -> Defect:
    return Defect(id_, kind, what, "mutant")


def prevented(id_: str, kind: str, what: str, test: str) -> Defect:
    return Defect(id_, kind, what, "prevented", test)


def out(id_: str, kind: str, what: str, why: str) -> Defect:
    return Defect(id_, kind, what, "out of reach", why)


def judged(id_: str, kind: str, what: str, flaw: str) -> Defect:
    return Defect(
        id_,
        kind,
        what,
        "judged",
        f"detected by `{TRACED[flaw] if flaw in TRACED else FLAWS[flaw][0]}` in a client with this defect ({flaw})",
    )


SORTED = (
    seen("REG01", "S", "the preprocessor is looked up under a wrong key, and None is registered"),
    seen("REG02", "S", "the preprocessor is not passed to the registration"),
    seen("REG03", "S", "custom objects are read from a wrong place"),
    seen("REG05", "S", "a LightGBM classifier is loaded as a booster"),
    seen("REG06", "S", "XGBoost's marker for missing values is lost when the model is saved"),
    seen("REG07", "S", "'latest' is not the model that was saved last, because a clock was wrong"),
    seen("REG10", "S", "the newest model of the whole store is served, whatever its name"),
    seen("REG11", "S", "deleting the newest version moves 'latest' back to an older one"),
    seen("REG12", "S", "two runs save their models through the same file"),
    seen("REG13", "LS", "the service reads another store than the one in which the model was registered"),
    prevented("REG14", "S", "the model is loaded with another version of its library", "tests/e2e/test_startup_failures.py::test_another_library_version_is_not_served"),
    seen("REG16", "L", "a pickled wrapper lacks an attribute"),
    seen("REG17", "S", "start-up code refits the model"),
    prevented("REG19", "LS", "two registrations write the same version", "tests/integration/test_registration.py::test_two_registrations_at_once_get_an_entry_each"),
    seen("REG24", "S", "the signature could not be inferred, and input is not validated"),
    out("REG25", "L", "a package that is installed under another name breaks saving", "loud, and only in an environment with that package; Tier0's registration reads the version from the imported module"),
    seen("PKG04", "L", "a file in the working directory shadows a module of the standard library"),
    prevented("PKG05", "LS", "the bentoml command of another environment comes first on PATH", "tests/support/zoo_server.py starts the zoo with such a command first on PATH"),
    seen("PKG06", "S", "two service files of the same name are imported in one process"),
    prevented("PKG07", "L", "a tag is parsed from printed text", "tests/unit/test_deployment.py::test_a_tag_that_is_none_is_refused_with_what_there_is"),
    seen("PKG08", "L", "a model that is loaded at import is not declared"),
    seen("PKG09", "LS", "a relative path is resolved in another directory"),
    out("PKG11", "Q", "the configuration of one service affects another", "the configuration of a service cannot be observed from outside"),
    seen("PKG12", "S", "the client falls back to a default address"),
    seen("STA02", "S", "the port is taken, and the old server keeps responding"),
    seen("STA04", "L", "the service raises an exception at start-up, and its parent process stays"),
    seen("STA06", "S", "an error while loading the preprocessor is only printed"),
    seen("STA08", "L", "loading the model takes longer than the start-up timeout"),
    seen("STA10", "L", "no worker is started"),
    seen("STA11", "L", "a request crashes the worker"),
    out("STA12", "Q", "a timeout is accepted and ignored", "a timeout shows only in a request that takes longer, which a client cannot cause in any service"),
    prevented("STA13", "L", "host and port in the decorator are ignored", "tests/defects/zoo/service.py declares others: the port is read from the process that owns it"),
    prevented("HLT01", "L", "the health probe uses GET where POST is required", "the healthy deployment health_is_an_api in the table"),
    seen("HLT03", "Q", "the service reports ready although no model is loaded"),
    seen("HLT04", "Q", "the health route returns status 200 with a body that reports a degraded state"),
    seen("HLT05", "Q", "the health status is hard-coded"),
    seen("HLT06", "L", "blocking work in an async handler delays the liveness probe"),
    seen("HLT08", "Q", "every health probe leaves a connection open"),
    seen("HLT11", "S", "the service returns the same output for every input, with status 200"),
    seen("HLT12", "S", "defaults replace all input: any payload gets a prediction"),
    seen("CON01", "L", "the client does not wrap the body in the parameter's name"),
    seen("CON02", "S", "a misspelled optional field is ignored"),
    seen("CON03", "S", "an empty body gets a prediction on default values"),
    seen("CON05", "S", "NaN becomes null with status 200"),
    seen("CON06", "L", "a NumPy scalar inside a dict cannot be serialised"),
    seen("CON07", "L", "a matrix is returned where a list was declared, for three or more classes"),
    seen("CON10", "S", "a body with another content type is read as JSON"),
    seen("CON11", "S", "text and booleans are converted to numbers"),
    seen("CON14", "L", "the client expects an object, but the service returns a list"),
    judged("CON15", "L", "a proxy returns HTML or an empty body with status 200", "counts_headers"),
    seen("CON16", "L", "the client's batch call wraps the body in another way"),
    seen("PAR01", "S", "columns are permuted"),
    seen("PAR02", "S", "the columns of a DataFrame are in another order, for LightGBM"),
    seen("PAR04", "S", "preprocessing is skipped"),
    seen("PAR05", "S", "columns are renamed, numbers first"),
    seen("PAR06", "S", "column names are dropped if their number does not match"),
    seen("PAR07", "S", "a missing feature becomes 0"),
    seen("PAR08", "S", "missing values become 0 before they reach the model"),
    seen("PAR09", "S", "every exception becomes the prediction 0.5"),
    seen("PAR10", "S", "a booster uses all trees instead of the best ones"),
    seen("PAR12", "S", "the probabilities of several classes lose their shape"),
    seen("PAR13", "S", "the tuned threshold is not deployed"),
    seen("PAR14", "S", "a default threshold overrides the trained one"),
    seen("PAR18", "S", "an integer dtype truncates values"),
    seen("PAR19", "S", "float32 values fall on the other side of splits"),
    seen("PAR21", "S", "rows of a wrong shape are reshaped instead of refused"),
    prevented("PAR22", "S", "shape and dtype are not checked in process", "the checks reach the model only through HTTP"),
    seen("PAR24", "S", "a misspelled column becomes a missing value"),
    seen("PAR26", "S", "categories are inferred from the request"),
    seen("PAR27", "S", "another spelling of a category is treated as unknown"),
    seen("PAR29", "S", "the scaler is fitted on the request"),
    seen("PAR32", "S", "hours are computed in another time zone"),
    seen("PAR34", "S", "the base estimator of a calibrated classifier is served"),
    seen("PAR36", "S", "only the largest probability is returned"),
    seen("PAR37", "S", "probabilities are shifted and clamped"),
    seen("PAR39", "LS", "preprocessing steps run in another order"),
    seen("PAR40", "S", "every input gets the same output"),
    seen("BAT01", "S", "a batch loses rows, so that callers get the outputs of others"),
    seen("BAT03", "S", "statistics are computed over the merged batch"),
    seen("BAT04", "S", "the context of one request is used for the whole batch"),
    seen("BAT06", "L", "a batchable route that takes a DataFrame never responds"),
    out("BAT09", "L", "the batch size limit counts requests instead of rows", "the number of rows per batch cannot be observed from outside"),
    out("BAT10", "L", "the last request is handled first", "part of BentoML's dispatcher, which a service cannot change"),
    seen("BAT12", "L", "one caller's invalid row fails the whole batch"),
    out("BAT13", "L", "the dispatcher uses the system clock", "part of BentoML's dispatcher, and a test cannot change the clock of a single process"),
    out("BAT14", "Q", "a handler continues after its timeout", "shows only in a request that takes longer than its timeout, which a client cannot cause in any service"),
    seen("BAT15", "S", "threads share the state of one request"),
    judged("BAT16", "L", "one client is used from two event loops", "hangs_elsewhere"),
    prevented("BAT18", "L", "the pointer to the latest version is read while it is being written", "tests/unit/test_deployment.py::test_a_pointer_that_is_empty_is_told"),
    judged("RES01", "L", "each retry counts as a failure of the breaker", "counts_calls"),
    judged("RES03", "L", "a 4xx response opens the circuit", "retries_4xx"),
    judged("RES04", "L", "a 4xx response to a half-open probe is not counted as a success", "mistakes_are_failures"),
    judged("RES05", "L", "the half-open circuit lets all requests through", "rush"),
    judged("RES06", "L", "a cancelled probe never releases its place", "wedged"),
    judged("RES07", "Q", "the half-open circuit sends one probe too many", "two_probes"),
    judged("RES08", "L", "the breaker uses the system clock", "wall_clock"),
    judged("RES09", "L", "Retry-After is ignored", "ignores_retry_after"),
    prevented("RES10", "Q", "a request is processed twice after a timeout", "tests/defects/test_judged_clients.py::test_a_request_that_is_not_idempotent_must_not_be_repeated: `retry.asked_once` checks clients that declare it"),
    prevented("RES13", "L", "a client without retries sends no request at all", "tests/defects/test_judged_clients.py::test_a_client_whose_first_call_fails_is_rejected"),
    judged("RES14", "L", "cancelled calls keep their connections", "leaks"),
    judged("RES15", "L", "a pooled connection is closed while it is being used", "only_statuses"),
    out("RES18", "Q", "the client's timeout is shorter than the service's", "the timeout of the service cannot be observed from outside"),
    judged("RES20", "L", "the batch call has neither retries nor a breaker", "batch_unguarded"),
    seen("RES21", "S", "configuring an endpoint before the client exists has no effect"),
    out("RES24", "L", "a rate limit is divided among the workers", "the limit is not declared anywhere; status 429 is reported"),
    judged("OBS01", "Q", "the tracing call is wrong, and no trace is sent", "Misused"),
    judged("OBS02", "Q", "pending traces are dropped at the end", "Batches"),
    judged("OBS03", "Q", "background tasks without a reference are lost", "Tasks"),
    seen("OBS05", "Q", "another server with the same BENTOML_HOME deletes the metrics"),
    seen("OBS07", "Q", "errors are not counted"),
    out("OBS08", "Q", "configured histogram buckets are ignored", "the configured buckets cannot be observed from outside"),
    seen("OBS09", "Q", "the samples of a histogram are out of order"),
    prevented("OBS11", "Q", "a response other than 200 is suppressed", "tests/defects/test_zoo.py: a failure has the status and the body as evidence"),
    judged("OBS14", "Q", "the address of the tracing backend is read from another variable", "AnotherName"),
    out("PRF01", "L", "one thread serialises all handlers", "looks the same as a slow model; latency is reported, and fails beyond a factor of ten"),
    out("PRF02", "L", "many threads are started for every single row", "a factor of five to ten in practice; latency is reported, and fails beyond a factor of ten (the mutant slow)"),
    out("PRF03", "L", "each worker starts many threads", "depends on the machine of the service; latency is reported"),
    seen("PRF06", "L", "memory use grows with every request"),
    out("PRF07", "L", "requests are not batched at low traffic", "a choice without harm"),
    out("PRF10", "L", "the number of parallel requests is not limited", "BentoML's default, harmless until memory is exhausted; the check would have to crash the service"),
    seen("TDN01", "S", "workers outlive their killed supervisor and keep responding"),
    seen("TDN03", "L", "the server's output is not read, and the server stalls"),
    seen("TDN04", "L", "a hanging handler keeps the server running"),
    prevented("TDN06", "S", "files in a shared folder are used by the next run", "tests/plugin/test_endings.py::test_a_run_that_passes_leaves_nothing"),
    seen("TDN07", "S", "models accumulate in a shared store, and the next run uses one of them"),
    seen("TDN10", "L", "stopping the server is not verified"),
    judged("TDN11", "Q", "the client is never closed", "open_after_close"),
    seen("SEC01", "LQ", "a pickled request body is accepted"),
    prevented("SEC04", "Q", "a model of unknown origin is unpickled", "tests/e2e/test_startup_failures.py::test_a_changed_model_file_is_not_loaded"),
    prevented("SEC05", "LQ", "code is generated from names", "tests/unit/test_registration.py::test_what_cannot_be_registered_is_refused"),
    out("SEC06", "Q", "an archive writes files outside the store", "Tier0 imports no archives"),
    seen("SEC07", "Q", "the service listens on an address that other machines can reach"),
)  # fmt: skip
