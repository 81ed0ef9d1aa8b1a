"""The network files that ship with Schwung, and how a name or a path becomes one."""

from __future__ import annotations

import tomllib
from pathlib import Path

from config.errors import ConfigError, UnknownNetwork
from config.paths import devnet_dir

SHIPPED = Path(__file__).parent
DEFAULT = "devnet"


def find(network: str, datadir: Path) -> Path:
    """The file of a network given by name or path; a running devnet and `<datadir>/networks/` come first."""
    if "/" in network or network.endswith(".toml"):
        path = Path(network).expanduser()
        if not path.is_file():
            raise UnknownNetwork(f"there is no network file {path}")
        return path.absolute()
    found = known(datadir).get(network)
    if found is None:
        names = ", ".join(sorted(known(datadir)))
        raise UnknownNetwork(f"unknown network {network!r}: known are {names}; or give the path of a network file")
    return found


def known(datadir: Path) -> dict[str, Path]:
    """Network name → file, of all that are in reach."""
    files = {path.stem: path for folder in (SHIPPED, datadir / "networks") for path in sorted(folder.glob("*.toml"))}
    running = devnet_dir() / "devnet.toml"
    return {**files, "devnet": running} if running.is_file() else files


def read(path: Path) -> dict[str, object]:
    """A TOML file as plain values. Raises ConfigError that names the file."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as err:
        raise ConfigError(f"{path}: {err}") from err


def folder_name(network: str, datadir: Path) -> str:
    """The name under which this network's files lie in the datadir: the `name` in the file."""
    name = read(find(network, datadir)).get("name")
    if not isinstance(name, str) or not name or name.strip("abcdefghijklmnopqrstuvwxyz0123456789-"):
        raise ConfigError(f"{network}: the network file needs a name of a-z, 0-9 and '-'")
    return name
