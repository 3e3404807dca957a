"""Creates the environment of each peer, from its pinned requirements.

    python benchmarks/peers/environments.py [names ...]

Environments lie in benchmarks/peers/.environments/; one that is complete is left as it is.
"""

import argparse
import pathlib
import subprocess
import sys

HERE = pathlib.Path(__file__).parent
ENVIRONMENTS = HERE / ".environments"
REQUIREMENTS = {path.stem: path for path in sorted((HERE / "requirements").glob("*.txt"))}


def python_of(name: str) -> pathlib.Path:
    """The interpreter of an environment, whether or not it exists."""
    return ENVIRONMENTS / name / "bin" / "python"


def is_complete(name: str) -> bool:
    """Whether an environment was made from the requirements as they are now."""
    stamp = ENVIRONMENTS / name / "made-from.txt"
    return stamp.exists() and stamp.read_text() == REQUIREMENTS[name].read_text()


def make(name: str) -> str | None:
    """Makes one environment.

    Args:
      name: of a file of requirements.

    Returns:
      None, or the last line that pip said before it failed.
    """
    if is_complete(name):
        return None
    folder = ENVIRONMENTS / name
    pip = [str(python_of(name)), "-m", "pip", "install", "--quiet"]
    lines = [line.strip() for line in REQUIREMENTS[name].read_text().splitlines()]
    pins = [line for line in lines if line and not line.startswith("#")]
    # torch alone first: a peer that asks for it finds it, and brings no other build.
    first = [pin for pin in pins if pin.startswith("torch==")]
    steps = [[sys.executable, "-m", "venv", "--clear", str(folder)]]
    steps += [[*pip, *first]] if first else []
    steps += [[*pip, *pins]]
    for step in steps:
        done = subprocess.run(step, capture_output=True, text=True)
        if done.returncode:
            return ((done.stderr or done.stdout).strip().splitlines() or ["failed, silently"])[-1]
    (folder / "made-from.txt").write_text(REQUIREMENTS[name].read_text())
    return None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", help=f"of {', '.join(REQUIREMENTS)}; all without any")
    options = parser.parse_args()
    unknown = set(options.names) - set(REQUIREMENTS)
    if unknown:
        parser.error(f"no requirements for {', '.join(sorted(unknown))}")
    failed = False
    for name in options.names or REQUIREMENTS:
        error = make(name)
        failed |= error is not None
        print(f"{name:10s} {error or 'ready'}", flush=True)
    sys.exit(failed)


if __name__ == "__main__":
    main()
