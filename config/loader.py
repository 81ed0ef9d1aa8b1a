"""Settings from all their sources: defaults < network file < `<datadir>/config.toml` < environment < flags.

Whatever is wrong is reported at once, each with its source and key; an unknown key is wrong.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_type_hints

import msgspec

from config.amounts import Wei, parse_amount
from config.errors import ConfigError, NetworkUnfilled
from config.networks import DEFAULT, find, read
from config.paths import default_datadir
from config.profile import Profile
from config.settings import SECTIONS, Settings

ENV_PREFIX = "SCHWUNG_"
Origins = dict[str, str]


class Loaded(msgspec.Struct, frozen=True):
    """The settings, and for every key `section.key` where its value comes from."""

    settings: Settings
    origins: Origins


class Layer(msgspec.Struct, frozen=True):
    """One source: its name for messages, its values by section and key; texts are converted if `lax`."""

    source: str
    values: Mapping[str, object]
    lax: bool = False


def load_settings(
    datadir: Path | str | None = None,
    network: str = DEFAULT,
    overrides: Mapping[str, object] | None = None,
    environ: Mapping[str, str] | None = None,
) -> Loaded:
    """Read all sources; `overrides` has keys `section.key`. Raises ConfigError naming everything that is wrong."""
    folder = default_datadir() if datadir is None else Path(datadir)
    network_file = find(network, folder)
    profile = _profile(network_file)
    layers = [Layer(f"network file {network_file}", profile.settings)]
    config = folder / "config.toml"
    if config.exists():
        layers.append(Layer(str(config), read(config)))
    layers += _environment(os.environ if environ is None else environ)
    layers += [_single(f"flag {key}", key, value) for key, value in (overrides or {}).items()]
    return _merge(profile, layers)


def require_filled(profile: Profile, network: str) -> None:
    """Refuse a template. Raises NetworkUnfilled, which says what is missing."""
    missing = profile.unfilled()
    if not missing:
        return
    if profile.name == "devnet":
        raise NetworkUnfilled("no devnet runs on this machine: start one with `schwung devnet up`")
    raise NetworkUnfilled(f"network {network!r} is a template: fill in {', '.join(missing)}, then give its path")


def _profile(path: Path) -> Profile:
    try:
        return msgspec.convert(read(path), Profile, dec_hook=_decode)
    except msgspec.ValidationError as err:
        raise ConfigError(f"{path}: {err}") from err


def _environment(environ: Mapping[str, str]) -> list[Layer]:
    names = sorted(name for name in environ if name.startswith(ENV_PREFIX) and "__" in name)
    keys = {name: name[len(ENV_PREFIX) :].lower().replace("__", ".", 1) for name in names}
    return [_single(f"environment {name}", keys[name], environ[name]) for name in names]


def _single(source: str, dotted: str, value: object) -> Layer:
    section, _, key = dotted.partition(".")
    return Layer(source, {section: {key: value}}, lax=True)


def _merge(profile: Profile, layers: list[Layer]) -> Loaded:
    values: dict[str, dict[str, object]] = {section: {} for section in SECTIONS}
    origins = {f"{section}.{key}": "default" for section, kind in SECTIONS.items() for key in kind.__struct_fields__}
    wrong: list[str] = []
    for layer in layers:
        for section, key, value in _entries(layer, wrong):
            try:
                values[section][key] = _convert(value, section, key, lax=layer.lax)
                origins[f"{section}.{key}"] = layer.source
            except msgspec.ValidationError as err:
                wrong.append(f"{layer.source}: {section}.{key}: {err}")
    if wrong:
        raise ConfigError("\n".join(wrong))
    sections: dict[str, Any] = {section: SECTIONS[section](**given) for section, given in values.items()}
    return Loaded(Settings(profile=profile, **sections), origins)


def _entries(layer: Layer, wrong: list[str]) -> list[tuple[str, str, object]]:
    """The known keys of a layer; unknown ones go to `wrong`."""
    entries = []
    for section, keys in layer.values.items():
        kind = SECTIONS.get(section)
        if kind is None:
            wrong.append(f"{layer.source}: unknown section {section!r}: known are {', '.join(SECTIONS)}")
        elif not isinstance(keys, Mapping):
            wrong.append(f"{layer.source}: {section} must be a section [{section}]")
        else:
            for key, value in keys.items():
                if key in kind.__struct_fields__:
                    entries.append((section, key, value))
                else:
                    known = ", ".join(kind.__struct_fields__)
                    wrong.append(f"{layer.source}: unknown key {section}.{key}: {section} has {known}")
    return entries


def _convert(value: object, section: str, key: str, *, lax: bool) -> object:
    hint = get_type_hints(SECTIONS[section], include_extras=True)[key]
    if lax and isinstance(value, str):
        value = _from_text(value, get_type_hints(SECTIONS[section])[key])
    return msgspec.convert(value, hint, strict=not lax, dec_hook=_decode)


def _from_text(text: str, kind: object) -> object:
    """Lists as JSON or with commas, tables as JSON; the rest is converted by msgspec."""
    if text.startswith(("[", "{")):
        try:
            return json.loads(text)
        except json.JSONDecodeError as err:
            raise msgspec.ValidationError(f"not JSON: {err}") from err
    if getattr(kind, "__origin__", None) is tuple:
        return [part.strip() for part in text.split(",") if part.strip()]
    return text


def _decode(kind: type, value: object) -> object:
    if kind is Wei and isinstance(value, (int, str)) and not isinstance(value, bool):
        return parse_amount(str(value))
    raise ValueError(f"cannot read a {kind.__name__} from {value!r}")


def check_value(section: str, key: str, value: object) -> None:
    """Whether a value could stand in the config file. Raises ConfigError."""
    wrong: list[str] = []
    entries = _entries(Layer("config", {section: {key: value}}), wrong)
    try:
        for _ in entries:
            _convert(value, section, key, lax=False)
    except msgspec.ValidationError as err:
        wrong.append(f"{section}.{key}: {err}")
    if wrong:
        raise ConfigError("\n".join(wrong))


def plain(settings: Settings) -> dict[str, dict[str, object]]:
    """Settings as JSON values, amounts as decimal strings; for `config.get` and `config show`."""
    return {section: msgspec.to_builtins(getattr(settings, section), enc_hook=str) for section in SECTIONS}
