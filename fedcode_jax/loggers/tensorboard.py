"""TensorBoard's event files, in the run's folder, written by tensorboardX."""

import struct
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from fedcode_jax.loggers.contract import Beginning
from fedcode_jax.loggers.figures import SUMMARY, numbers, texts
from fedcode_jax.loggers.libraries import library

FOLDER = "tensorboard"
_PLUGIN, _END = "hparams", "_hparams_/session_end_info"
_FLUSH_SECONDS = 1.0


class TensorBoard:
    """Writes ``tensorboard/`` in the folder of the run.

    Every figure is a scalar of its own name, of 32 bits, the closing ones ``summary/<name>``; the
    closing texts are a text, the settings hyperparameters. A resumed run goes on behind the rounds
    that are there; those after its checkpoint are hidden.
    """

    needs_folder = True

    def __init__(self) -> None:
        library("tensorboard", "tensorboardX", "tensorboard")
        # Its SummaryWriter hands events to a thread, and waits for ever once that has failed.
        self._files = library("tensorboard", "tensorboardX.event_file_writer", "tensorboard")
        self._events = library("tensorboard", "tensorboardX.proto.event_pb2", "tensorboard")
        self._summaries = library("tensorboard", "tensorboardX.summary", "tensorboard")

    def begin(self, run: Beginning) -> int:
        """Opens an event file."""
        assert run.folder is not None
        folder = run.folder / FOLDER
        folder.mkdir(parents=True, exist_ok=True)
        earlier = sorted(folder.glob("events.out.tfevents.*"))
        if not run.done:  # of a run that is replaced
            for path in earlier:
                path.unlink()
            earlier = []
        self._round = held = self._held(earlier, run.done)
        self._flushed = 0.0
        # Files of one second have one name but for the suffix; they are read in order.
        self._writer = self._files.EventsWriter(str(folder / "events"), f".{len(earlier):04d}")
        if held:
            start = self._events.SessionLog(status=self._events.SessionLog.START)
            self._write(step=held + 1, session_log=start)
        else:
            experiment, session, _ = self._summaries.hparams(
                {name: _plain(value) for name, value in run.settings.items()},
                dict.fromkeys(("test_accuracy", "deployed_accuracy", f"{SUMMARY}final_accuracy")),
            )
            self._write(summary=experiment)
            self._write(summary=session)
        self._writer.flush()
        return held

    def round(self, record: Mapping[str, Any]) -> None:
        """Writes the figures of a round."""
        self._round = record["round"]
        self._scalars(numbers(record))
        if time.monotonic() - self._flushed > _FLUSH_SECONDS:
            self._writer.flush()
            self._flushed = time.monotonic()

    def end(self, summary: Mapping[str, Any]) -> None:
        """Writes the closing figures and how the run ended, and closes the file."""
        self._scalars({f"{SUMMARY}{name}": value for name, value in numbers(summary).items()})
        rows = "".join(f"\n| {name} | {text} |" for name, text in texts(summary).items())
        table = self._summaries.text("summary", f"| | |\n| --- | --- |{rows}")
        self._write(step=self._round, summary=table)
        # One that was interrupted or failed may be resumed, and an end is read once.
        status = {"completed": "SUCCESS", "diverged": "FAILURE"}.get(summary["status"])
        if status is not None:
            self._write(summary=self._ended(f"STATUS_{status}"))
        self._writer.close()

    def _scalars(self, values: Mapping[str, float]) -> None:
        of = self._summaries.Summary
        found = [of.Value(tag=name, simple_value=value) for name, value in values.items()]
        self._write(step=self._round, summary=of(value=found))

    def _ended(self, status: str) -> Any:
        """The end of a session, as the plugin for hyperparameters reads it."""
        from tensorboardX.proto import api_pb2, plugin_hparams_pb2

        number = api_pb2.Status.Value(status)
        info = plugin_hparams_pb2.SessionEndInfo(status=number, end_time_secs=time.time())
        content = plugin_hparams_pb2.HParamsPluginData(session_end_info=info, version=0)
        metadata = self._summaries.SummaryMetadata
        plugin = metadata.PluginData(plugin_name=_PLUGIN, content=content.SerializeToString())
        of = self._summaries.Summary
        return of(value=[of.Value(tag=_END, metadata=metadata(plugin_data=plugin))])

    def _write(self, **parts: Any) -> None:
        self._writer.write_event(self._events.Event(wall_time=time.time(), **parts))

    def _held(self, files: Sequence[Path], done: int) -> int:
        """The last round up to ``done`` that event files hold; what was cut off does not count."""
        last = 0
        for path in files:
            for data in _records(path.read_bytes()):
                event = self._events.Event.FromString(data)
                if any(value.tag == "round" for value in event.summary.value):
                    last = max(last, event.step if event.step <= done else 0)
        return last


def _records(data: bytes) -> Iterator[bytes]:
    """The records of an event file: a length u64 with its checksum, then data with theirs."""
    place = 0
    while place + 12 <= len(data):
        (size,) = struct.unpack_from("<Q", data, place)
        first, place = place + 12, place + 16 + size
        if place <= len(data):
            yield data[first : first + size]


def _plain(value: Any) -> Any:
    """A setting as the plugin takes it: a truth, a number or a text."""
    if value is None:
        return "none"
    return value if isinstance(value, bool | int | float | str) else str(value)
