"""When the state of a run is saved."""

from fedcode_jax.config import ExperimentConfig

_ROUNDS_BETWEEN_LOOKS = 10
"""At most, where the time of a checkpoint is told in seconds."""


def pauses(config: ExperimentConfig) -> list[int]:
    """Rounds after every so many of which the state is looked at, to save it when it is time.

    Example:
      >>> pauses(ExperimentConfig(checkpoint_every=4)), pauses(ExperimentConfig())
      ([4], [])
    """
    timed = _ROUNDS_BETWEEN_LOOKS if config.checkpoint_seconds is not None else None
    return [each for each in (config.checkpoint_every, timed) if each is not None]


def is_time(config: ExperimentConfig, done: int, saved: int, seconds: float) -> bool:
    """Whether a state is to be saved.

    Args:
      config: of the run.
      done: rounds done.
      saved: of which there is a checkpoint.
      seconds: since it was made, or the run began.

    Example:
      >>> [is_time(ExperimentConfig(checkpoint_every=4), done, 4, 0.0) for done in (7, 8, 9)]
      [False, True, True]
    """
    every, after = config.checkpoint_every, config.checkpoint_seconds
    if every is not None and done // every > saved // every:
        return True
    return after is not None and seconds >= after
