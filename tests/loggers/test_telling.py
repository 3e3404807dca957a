"""Loggers of one's own, what they are told, and what their failures cost."""

import logging

import pytest

from fedcode_jax import loggers
from fedcode_jax.errors import ConfigError
from fedcode_jax.loggers import Beginning, Logger, Loggers, makers

RUN = Beginning({"seed": 0}, "run")


def records(*numbers):
    return [{"round": number} for number in numbers]


class Noting:
    """Notes what it is told; fails where it is said to."""

    def __init__(self, held=None, fails=()):
        self.held, self.fails, self.told = held, set(fails), []

    def begin(self, run):
        self._now("begin")
        self.run = run
        return self.held

    def round(self, record):
        self._now(record["round"])

    def end(self, summary):
        self._now("end")
        self.summary = summary

    def _now(self, what):
        if what in self.fails:
            raise ConnectionError(f"no network at {what}\nin two lines")
        self.told.append(what)


def of(*own, **options) -> Loggers:
    return Loggers(makers([], own, folder=None), **options)


def test_a_logger_of_one_s_own_is_told_of_a_run():
    mine: Logger = (noting := Noting())
    told = of(mine)
    told.begin(RUN, [], {})
    told.rounds(records(1, 2))
    told.end({"status": "completed"})
    assert noting.told == ["begin", 1, 2, "end"]
    assert noting.summary == {"status": "completed"}


@pytest.mark.parametrize(
    ("held", "expected"),
    [(None, [4, 5]), (0, [1, 2, 3, 4, 5]), (2, [3, 4, 5]), (4, [5]), (9, [])],
)
def test_rounds_that_a_log_holds_are_not_told_again(held, expected):
    noting = Noting(held)
    told = of(noting)
    told.begin(Beginning({}, "run", done=3, told=4), records(1, 2, 3), {})
    told.rounds(records(4, 5))
    assert noting.told == ["begin", *expected]


def test_what_a_logger_keeps_is_there_when_the_run_goes_on():
    kept = {}

    class Keeping(Noting):
        def begin(self, run):
            self.before = dict(run.kept)
            run.kept["id"] = "a1"

    first, second = Keeping(), Keeping()
    of(first, second).begin(RUN, [], kept)
    assert kept == {"Keeping": {"id": "a1"}, "Keeping 2": {"id": "a1"}}
    of(later := Keeping()).begin(RUN, [], kept)
    assert later.before == {"id": "a1"}


def test_a_failure_is_said_once_and_the_run_and_the_others_go_on(caplog):
    failing, fine = Noting(fails=[2, 3]), Noting()
    told = of(failing, fine)
    told.begin(RUN, [], {})
    for number in (1, 2, 3, 4):
        told.rounds(records(number))
    assert failing.told == ["begin", 1]
    failing.fails.clear()  # the network is back
    told.end({"status": "completed"})
    assert failing.told == ["begin", 1, 2, 3, 4, "end"]
    assert fine.told == ["begin", 1, 2, 3, 4, "end"]
    (line,) = caplog.records
    assert line.levelno == logging.WARNING
    assert line.getMessage() == (
        "fedcode: log: 'Noting' failed: ConnectionError: no network at 2; the run goes on"
    )


def test_one_that_fails_to_the_end_is_left_alone(caplog):
    failing = Noting(fails=[1, "end"])
    told = of(failing)
    told.begin(RUN, [], {})
    told.rounds(records(1))
    told.rounds(records(2))
    told.end({"status": "completed"})
    assert failing.told == ["begin"]
    assert len(caplog.records) == 1


def test_one_that_cannot_begin_ends_the_run_before_it_starts_and_the_others_are_told():
    fine = Noting()
    with pytest.raises(ConfigError, match=r"^log: 'Noting 2' could not begin: ConnectionError"):
        of(fine, Noting(fails=["begin"])).begin(RUN, [], {})
    assert fine.told == ["begin", "end"]
    assert fine.summary["status"] == "failed"


def test_in_a_sweep_it_is_left_out(caplog):
    fine, failing = Noting(), Noting(fails=["begin"])
    told = of(fine, failing, strict=False)
    for _ in range(2):
        told.begin(RUN, [], {})
        told.rounds(records(1))
        told.end({"status": "completed"})
    assert fine.told == ["begin", 1, "end"] * 2
    assert len(caplog.records) == 1


@pytest.mark.parametrize(
    ("names", "own", "message"),
    [
        (["tensorbord"], [], r"log: unknown name 'tensorbord'. Did you mean 'tensorboard'\?"),
        (["nowhere:mine"], [], "log: 'nowhere:mine' cannot be found: there is no module 'nowhere'"),
        (["math:pi"], [], "log: 'math:pi' cannot be used; it must be a factory of loggers"),
        (["logged:Logged"], [], "log: 'logged:Logged' raised TypeError"),
        (["threading:Lock"], [], "log: 'threading:Lock' has no method 'begin'"),
        ([], [3], "log: 'int' has no method 'begin'"),
        ([], ["wandb"], "loggers: 'wandb' cannot be used; it must be a list of objects; set log"),
        ([], Noting(), "loggers: 'Noting' cannot be used; it must be a list of loggers"),
    ],
)
def test_what_is_no_logger_is_refused(names, own, message):
    with pytest.raises(ConfigError, match=f"^{message}"):
        makers(names, own, folder=None)


def test_a_logger_that_needs_a_folder_says_so():
    class Filing(Noting):
        needs_folder = True
        elsewhere = "FILING_DIR"

    with pytest.raises(ConfigError, match=r"needs a folder .* set out, or the variable FILING_DIR"):
        makers([], [Filing()], folder=None)
    assert makers([], [Filing()], folder="run")


def test_the_registry_names_what_the_setting_does():
    assert set(loggers.registry) == {"mlflow", "tensorboard", "wandb"}
