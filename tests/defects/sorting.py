"""Every defect on our list, and what becomes of it: the denominator of the matrix, written down before the checks.

Kinds: S an answer with status 200 that is wrong or comes from the wrong model; Q no error, but health, telemetry or clean-up is
wrong; L loud.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from model_client import FLAWS, TRACED

Sort = Literal["mutant", "prevented", "out of reach", "judged"]


@dataclass(frozen=True)
class Defect:
    """One row.

    Attributes:
        id: of the list.
        kind: S, Q, L, or two of them.
        what: goes wrong.
        sort: ``mutant`` (it is put in, and must be caught), ``prevented`` (what Tier0 does cannot have it: by which test),
            ``out of reach`` (why), ``judged`` (it is put into a client, and must be caught by the judge of clients).
        reason: the test, or why; empty for a mutant.
    """

    id: str
    kind: str
    what: str
    sort: Sort
    reason: str = ""

    @property
    def is_silent(self) -> bool:
        """Whether it may give a wrong answer with status 200."""
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
        f"caught by `{TRACED[flaw] if flaw in TRACED else FLAWS[flaw][0]}` in a client that has it ({flaw})",
    )


SORTED = (
    seen("REG01", "S", "the preprocessor is looked up under another key, and None is registered"),
    seen("REG02", "S", "the preprocessor is not handed to the registration"),
    seen("REG03", "S", "custom objects are read from where they are not"),
    seen("REG05", "S", "a LightGBM classifier comes back as a booster"),
    seen("REG06", "S", "XGBoost's marker for missing values is lost by saving"),
    seen("REG07", "S", "latest is not the last one that was saved, because a clock was wrong"),
    seen("REG10", "S", "the newest model of the whole store is served"),
    seen("REG11", "S", "deleting the newest version rolls latest back"),
    seen("REG12", "S", "two runs save by way of one file"),
    seen("REG13", "LS", "the service reads another store than the registration wrote"),
    prevented("REG14", "S", "the model is loaded by another version of its library", "tests/e2e/test_startup_failures.py::test_another_library_version_is_not_served"),
    seen("REG16", "L", "a pickled wrapper lacks an attribute"),
    seen("REG17", "S", "start-up code fits the model again"),
    prevented("REG19", "LS", "two registrations write one version", "tests/unit/test_registration.py::test_two_registrations_at_once_get_an_entry_each"),
    seen("REG24", "S", "the signature could not be inferred, and nothing is enforced"),
    out("REG25", "L", "a wheel of another name breaks saving", "loud, and of an environment that holds that wheel; our registration asks the loaded module for its version, not the wheel"),
    seen("PKG04", "L", "a file in the working folder shadows the standard library"),
    prevented("PKG05", "LS", "another environment's bentoml is first on PATH", "tests/defects/zoo_server.py: the zoo is started with one there"),
    seen("PKG06", "S", "two service files of one name in one process"),
    prevented("PKG07", "L", "a tag is scraped from printed text", "tests/unit/test_deployment.py::test_a_tag_that_is_none_is_refused_with_what_there_is"),
    seen("PKG08", "L", "a model that is loaded at import is not declared"),
    seen("PKG09", "LS", "a relative path is read from another folder"),
    out("PKG11", "Q", "the configuration of one service leaks into another", "what a service was configured with is nowhere to be read from outside"),
    seen("PKG12", "S", "the client falls back to a default address"),
    seen("STA02", "S", "the port is taken, and the old server goes on answering"),
    seen("STA04", "L", "the service raises when it starts, and its parent stays"),
    seen("STA06", "S", "an error while the preprocessor is loaded is only printed"),
    seen("STA08", "L", "the model takes longer to load than the start may take"),
    seen("STA10", "L", "no worker is started"),
    seen("STA11", "L", "the worker dies of a request"),
    out("STA12", "Q", "a time limit is accepted and ignored", "whether a limit holds shows only on a request that takes longer, and a foreign service cannot be made to"),
    prevented("STA13", "L", "host and port of the decorator are ignored", "tests/defects/zoo/service.py declares others: the port is read from the process that has it"),
    prevented("HLT01", "L", "the probe uses GET where POST is needed", "the healthy deployment health_is_an_api of the matrix"),
    seen("HLT03", "Q", "ready with no model loaded"),
    seen("HLT04", "Q", "200 with a body that says degraded"),
    seen("HLT05", "Q", "healthy is hard-coded"),
    seen("HLT06", "L", "blocking work in an async handler starves the liveness probe"),
    seen("HLT08", "Q", "every probe leaves something open"),
    seen("HLT11", "S", "any answer with status 200 passes: a constant"),
    seen("HLT12", "S", "defaults for everything: any payload is accepted"),
    seen("CON01", "L", "the client does not wrap the body in the parameter's name"),
    seen("CON02", "S", "a misspelled optional field is ignored"),
    seen("CON03", "S", "an empty body is predicted on defaults"),
    seen("CON05", "S", "NaN becomes null with status 200"),
    seen("CON06", "L", "a numpy scalar inside of a dict"),
    seen("CON07", "L", "a matrix where a list was declared, for three classes and more"),
    seen("CON10", "S", "another content type is read as JSON"),
    seen("CON11", "S", "text and true are taken for numbers"),
    seen("CON14", "L", "the client expects an object, and the service gives a list"),
    judged("CON15", "L", "HTML or nothing with status 200 from a proxy", "counts_headers"),
    seen("CON16", "L", "the client's batch call wraps the body in another way"),
    seen("PAR01", "S", "columns are permuted"),
    seen("PAR02", "S", "a DataFrame's columns in another order, for LightGBM"),
    seen("PAR04", "S", "preprocessing is skipped"),
    seen("PAR05", "S", "columns are relabelled, numbers first"),
    seen("PAR06", "S", "names are dropped where a length does not fit"),
    seen("PAR07", "S", "a missing feature becomes 0"),
    seen("PAR08", "S", "missing values become 0 before the model"),
    seen("PAR09", "S", "any exception becomes 0.5"),
    seen("PAR10", "S", "a booster uses all trees, not the best ones"),
    seen("PAR12", "S", "the probabilities of several classes lose their shape"),
    seen("PAR13", "S", "the tuned threshold is not shipped"),
    seen("PAR14", "S", "a default threshold overrides the trained one"),
    seen("PAR18", "S", "an integer dtype truncates"),
    seen("PAR19", "S", "float32 flips splits"),
    seen("PAR21", "S", "a shape is made to fit instead of refused"),
    prevented("PAR22", "S", "shape and dtype are not looked at in process", "the checks have no other way to a model than HTTP"),
    seen("PAR24", "S", "a misspelled column becomes missing"),
    seen("PAR26", "S", "categories are inferred from the request"),
    seen("PAR27", "S", "another spelling of a category is an unknown one"),
    seen("PAR29", "S", "the scaler is fitted on the request"),
    seen("PAR32", "S", "hours are read in another time zone"),
    seen("PAR34", "S", "the base of a calibrated classifier is served"),
    seen("PAR36", "S", "the largest probability in place of all"),
    seen("PAR37", "S", "confidence is shifted and clamped"),
    seen("PAR39", "LS", "steps in another order"),
    seen("PAR40", "S", "one constant for every input"),
    seen("BAT01", "S", "a batch loses rows, and callers get each other's"),
    seen("BAT03", "S", "statistics over the merged batch"),
    seen("BAT04", "S", "one request's context for all"),
    seen("BAT06", "L", "a batchable route that takes a DataFrame never answers"),
    out("BAT09", "L", "a batch is counted in requests, not rows", "how many rows the handler got shows only inside of it"),
    out("BAT10", "L", "the last come is served first", "in BentoML's dispatcher, which a service cannot change"),
    seen("BAT12", "L", "one caller's bad row fails the whole batch"),
    out("BAT13", "L", "the dispatcher follows the wall clock", "in BentoML's dispatcher; a clock cannot be stepped for one process"),
    out("BAT14", "Q", "a handler goes on after its time is over", "shows only in a handler that takes longer than its limit, and a foreign service cannot be made to"),
    seen("BAT15", "S", "threads share what belongs to one request"),
    judged("BAT16", "L", "one client is used from two event loops", "hangs_elsewhere"),
    prevented("BAT18", "L", "the pointer to the latest is read while it is written", "tests/unit/test_deployment.py::test_a_pointer_that_is_empty_is_told"),
    judged("RES01", "L", "each retry counts as a failure of the breaker", "counts_calls"),
    judged("RES03", "L", "4xx opens the breaker", "retries_4xx"),
    judged("RES04", "L", "4xx while half-open records nothing", "mistakes_are_failures"),
    judged("RES05", "L", "half-open lets everybody out", "rush"),
    judged("RES06", "L", "a probe's place is never given back", "wedged"),
    judged("RES07", "Q", "one probe too many", "two_probes"),
    judged("RES08", "L", "the breaker follows the wall clock", "wall_clock"),
    judged("RES09", "L", "Retry-After is ignored", "ignores_retry_after"),
    prevented("RES10", "Q", "work is done twice after a timeout", "tests/defects/test_judged_clients.py::test_what_may_do_harm_twice_is_not_asked_twice: a client that promises not to is judged by retry.asked_once"),
    prevented("RES13", "L", "no retries means no call", "tests/defects/test_judged_clients.py::test_a_client_that_cannot_even_be_called_is_not_judged: its first call is asked for, and told"),
    judged("RES14", "L", "cancelled calls keep their connections", "leaks"),
    judged("RES15", "L", "a kept connection is closed as it is used", "only_statuses"),
    out("RES18", "Q", "the client gives up before the service does", "which limit the service has is nowhere to be read from outside"),
    judged("RES20", "L", "the batch call has no retry and no breaker", "batch_unguarded"),
    seen("RES21", "S", "configuring an endpoint before the client exists does nothing"),
    out("RES24", "L", "a limit is divided among workers", "a limit that nobody declared; 429s are reported as they come"),
    judged("OBS01", "Q", "the tracing call is misused, and no trace is sent", "Misused"),
    judged("OBS02", "Q", "traces are dropped at the end", "Batches"),
    judged("OBS03", "Q", "tasks that nobody holds are lost", "Tasks"),
    seen("OBS05", "Q", "another server on the same home wipes the metrics"),
    seen("OBS07", "Q", "errors are not counted"),
    out("OBS08", "Q", "configured buckets are ignored", "which ones were configured is nowhere to be read from outside"),
    seen("OBS09", "Q", "a histogram's samples are out of order"),
    prevented("OBS11", "Q", "an answer that is not 200 is swallowed", "tests/defects/test_zoo.py: a failure holds the status and the body"),
    judged("OBS14", "Q", "the tracing backend's address is under another name", "AnotherName"),
    out("PRF01", "L", "one thread serialises all handlers", "a queue is what one caller after another looks like; reported, and failed beyond a factor of ten"),
    out("PRF02", "L", "threads for every single row", "a factor of five to ten here; reported, and failed beyond ten (the mutant slow)"),
    out("PRF03", "L", "workers times threads", "depends on the machine that serves; reported"),
    seen("PRF06", "L", "memory grows with every request"),
    out("PRF07", "L", "nothing is batched at low traffic", "a choice, and no harm"),
    out("PRF10", "L", "no limit to parallel requests", "BentoML's default, and no harm until memory ends; a service would have to be broken to show it"),
    seen("TDN01", "S", "workers outlive their killed parent and answer"),
    seen("TDN03", "L", "nobody reads the server's output, and it stalls"),
    seen("TDN04", "L", "a hung handler keeps the server alive"),
    prevented("TDN06", "S", "what was generated in a shared folder is used by the next run", "tests/plugin/test_endings.py::test_a_run_that_passes_leaves_nothing"),
    seen("TDN07", "S", "models pile up in a shared store, and the next run takes one"),
    seen("TDN10", "L", "stopping means hoping"),
    judged("TDN11", "Q", "the client is never closed", "open_after_close"),
    seen("SEC01", "LQ", "a pickled body is taken"),
    prevented("SEC04", "Q", "a model of unknown origin is unpickled", "tests/e2e/test_startup_failures.py::test_a_changed_model_file_is_not_loaded"),
    prevented("SEC05", "LQ", "code is built from names", "tests/unit/test_registration.py::test_what_cannot_be_registered_is_refused"),
    out("SEC06", "Q", "an archive writes outside of the store", "Tier0 imports no archives"),
    seen("SEC07", "Q", "it listens where others can reach it"),
)  # fmt: skip
