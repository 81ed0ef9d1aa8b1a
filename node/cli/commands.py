"""Commands from the committed OpenRPC document: `schwung noun verb`, required params also by position."""

from __future__ import annotations

import argparse
import json
from functools import cache
from pathlib import Path
from typing import Any, NoReturn

from config.amounts import parse_amount
from node.cli.errors import usage

DOCUMENT = Path(__file__).parents[1] / "rpc" / "openrpc.json"
Schema = dict[str, Any]


class Parser(argparse.ArgumentParser):
    """Answers mistakes as every command does: one sentence, a hint, exit code 2."""

    def error(self, message: str) -> NoReturn:
        raise usage(message, f"{self.prog} --help")


@cache
def document() -> dict[str, dict[str, dict[str, Any]]]:
    """noun → verb → method of the OpenRPC document."""
    nouns: dict[str, dict[str, dict[str, Any]]] = {}
    for method in json.loads(DOCUMENT.read_text(encoding="utf-8"))["methods"]:
        noun, _, verb = method["name"].partition(".")
        nouns.setdefault(noun, {})[verb] = method
    return nouns


def parser(noun: str) -> argparse.ArgumentParser:
    """The parser of a noun's verbs."""
    top = Parser(prog=f"schwung {noun}", allow_abbrev=False)
    verbs = top.add_subparsers(dest="verb", metavar="VERB", required=True)
    for verb, method in document()[noun].items():
        sub = verbs.add_parser(
            verb, help=method["summary"], description=_description(method), allow_abbrev=False,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )  # fmt: skip
        for param in method["params"]:
            _add(sub, param)
    return top


def params(method: dict[str, Any], given: argparse.Namespace) -> dict[str, Any]:
    """The params of a call from parsed arguments; what was not given is left out. Raises CliError for missing ones."""
    chosen: dict[str, Any] = {}
    for param in method["params"]:
        value = getattr(given, _flag_name(param["name"]), None)
        if value is None:
            value = getattr(given, param["name"], None)
        if value is not None:
            chosen[param["name"]] = value
        elif param["required"] and not is_secret(param):
            raise usage(f"{method['name'].replace('.', ' ')} needs {param['name']}")
    return chosen


def is_secret(param: dict[str, Any]) -> bool:
    """Whether a param must not stand on a command line."""
    return _bare(param["schema"]).get("format") == "secret"


def _add(sub: argparse.ArgumentParser, param: dict[str, Any]) -> None:
    """A required param is a position and a flag, an optional one a flag, a secret neither."""
    if is_secret(param):
        return
    name, schema = param["name"], _bare(param["schema"])
    flag, read = "--" + name.replace("_", "-"), _reader(schema)
    if schema.get("type") == "boolean":
        sub.add_argument(flag, dest=name, action=argparse.BooleanOptionalAction, default=None)
        return
    shape: dict[str, Any] = {"type": read, "default": None, "choices": schema.get("enum"), "help": _help(param)}
    if schema.get("type") == "array":
        shape["nargs"] = "+"
    if param["required"]:
        position = {**shape, "nargs": "*" if "nargs" in shape else "?"}
        sub.add_argument(name, metavar=name.upper(), **position)
        sub.add_argument(flag, dest=_flag_name(name), metavar="", **{**shape, "help": argparse.SUPPRESS})
    else:
        sub.add_argument(flag, dest=name, metavar=None if shape["choices"] else name.upper(), **shape)


def _flag_name(name: str) -> str:
    return f"flag_{name}"


def _bare(schema: Schema) -> Schema:
    """The schema without its `or null`; of several kinds the one that a person types."""
    kinds = [kind for kind in schema.get("anyOf", []) if kind.get("type") != "null"]
    if not kinds:
        return schema
    if len(kinds) == 1:
        return dict(kinds[0])
    texts = all(kind.get("type") in ("string", "integer", "array") for kind in kinds) and len(kinds) == 2
    return {"type": "string"} if texts else {"type": "any"}


def _reader(schema: Schema) -> Any:
    if schema.get("format") == "amount":
        return amount
    if schema.get("type") == "array":
        return _reader(schema.get("items", {}))
    return {"integer": int, "number": float, "object": table, "any": anything}.get(schema.get("type", ""), str)


def amount(text: str) -> str:
    """`1.5tok` or digits as base units."""
    try:
        return str(int(parse_amount(text)))
    except ValueError as err:
        raise argparse.ArgumentTypeError(str(err)) from err


def table(text: str) -> dict[str, Any]:
    """`{"a": 1}` or `a=1,b=x` as an object."""
    if text.lstrip().startswith("{"):
        try:
            return dict(json.loads(text))
        except ValueError as err:
            raise argparse.ArgumentTypeError(f"not JSON: {err}") from err
    pairs = [pair.partition("=") for pair in text.split(",")]
    if not all(key and equals for key, equals, _ in pairs):
        raise argparse.ArgumentTypeError(f"{text!r}: write name=value,name=value or a JSON object")
    return {key: anything(value) for key, _, value in pairs}


def anything(text: str) -> Any:
    """A JSON value, or the text itself."""
    try:
        return json.loads(text)
    except ValueError:
        return text


def _help(param: dict[str, Any]) -> str:
    schema = _bare(param["schema"])
    kind = {"amount": "1.5tok, or digits of base units"}.get(schema.get("format", ""), "")
    default = param["schema"].get("default")
    known = f"default {default}" if default not in (None, "", "0") else ""
    return " · ".join(part for part in (kind, known) if part)


def _description(method: dict[str, Any]) -> str:
    return "\n\n".join(part for part in (method["summary"], method.get("description", "")) if part)
