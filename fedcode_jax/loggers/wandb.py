"""Runs of Weights & Biases, with their files in the run's folder or where its own settings say."""

import os
from collections.abc import Mapping
from typing import Any

from fedcode_jax.errors import ConfigError
from fedcode_jax.loggers.contract import Beginning
from fedcode_jax.loggers.figures import SUMMARY, numbers, texts
from fedcode_jax.loggers.libraries import library
from fedcode_jax.names import one_line

_EXIT_CODES = {"completed": 0, "interrupted": 130}


class WandB:
    """Writes a run of Weights & Biases, online, or offline (``WANDB_MODE=offline``).

    Its files are in ``wandb/`` of the run's folder, or of ``WANDB_DIR``; the other variables of
    the library count too. The project is ``WANDB_PROJECT`` or ``fedcode_jax``, the group that of
    the sweep. Steps are rounds; closing figures are ``summary/<name>``. A resumed run goes on under
    its id; what was logged offline is then in several parts, which ``wandb sync`` puts together.
    """

    elsewhere = "WANDB_DIR"

    def __init__(self) -> None:
        self._wandb = library("wandb", "wandb", "wandb")
        self.needs_folder = not os.environ.get("WANDB_DIR")

    def begin(self, run: Beginning) -> int:
        """Begins a run, or goes on with that of an earlier start."""
        known = run.kept.get("id")
        if self.needs_folder:  # else it takes a temporary one
            assert run.folder is not None
            run.folder.mkdir(parents=True, exist_ok=True)
        try:
            self._run = self._begun(run, known)
        except Exception as error:
            raise ConfigError(
                f"log: 'wandb' could not begin: {one_line(error)}; log in with 'wandb login', or "
                "set WANDB_MODE=offline"
            ) from error
        run.kept["id"] = self._run.id
        self._run.config.update(dict(run.settings), allow_val_change=True)
        if not known:
            return 0
        return run.told if self._run.offline else max(self._run.starting_step - 1, 0)

    def _begun(self, run: Beginning, known: str | None) -> Any:
        return self._wandb.init(
            dir=run.folder if self.needs_folder else None,
            project=os.environ.get("WANDB_PROJECT", "fedcode_jax"),
            name=os.environ.get("WANDB_NAME", run.name),
            group=os.environ.get("WANDB_RUN_GROUP", run.group),
            id=known,
            resume="allow" if known else None,
            reinit="create_new",  # beside a run that the caller may have
            settings=self._wandb.Settings(console="off", quiet=True),
        )

    def round(self, record: Mapping[str, Any]) -> None:
        """Writes the figures of a round."""
        self._run.log(numbers(record), step=record["round"], commit=True)

    def end(self, summary: Mapping[str, Any]) -> None:
        """Writes the closing figures, and how the run ended."""
        values = {**numbers(summary), **texts(summary)}
        self._run.summary.update({f"{SUMMARY}{name}": value for name, value in values.items()})
        self._run.finish(exit_code=_EXIT_CODES.get(summary["status"], 1))
