"""From a TOML file, or the name of a preset, and changes to its keys, to an `Experiment`."""

from __future__ import annotations

import inspect
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from copy import deepcopy
from dataclasses import MISSING, fields
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from course.errors import UserError
from course.serving.schedulers import SCHEDULERS
from course.simulator.experiment.kinds import Kind
from course.simulator.experiment.spec import SECTIONS, Experiment, InstanceSpec, SLOSpec

PRESETS = Path(__file__).with_name("presets")

# Setting one of these by --set takes out what it replaces: it says where requests come from.
_TRACE = ("trace", "format", "tick_s", "limit", "trace_rate")
_DRAWN = ("lengths", "joint", "prompt_tokens", "prompt_sigma", "output_tokens", "output_sigma", "arrivals", "requests")
_REPLACES = {
    "trace": _DRAWN,
    "lengths": (*_TRACE[:4], "prompt_tokens", "prompt_sigma", "output_tokens", "output_sigma"),
    "prompt_tokens": (*_TRACE[:4], "lengths", "joint"),
}


def preset_names() -> list[str]:
    """Experiments that can be named in place of a file."""
    return sorted(path.stem for path in PRESETS.glob("*.toml"))


def load_experiment(source: str | Path, overrides: Iterable[str] = ()) -> Experiment:
    """Read an experiment from a file or a preset; ``overrides`` are of the form "workload.rate=6".

    Relative paths count from the folder of the file, those of ``overrides`` from the working folder.

    Raises:
        UserError: for a file that is not there or not TOML, for an unknown key (naming the nearest known one), and
            for a value that does not fit its key.
    """
    path = PRESETS / f"{source}.toml" if str(source) in preset_names() else Path(source)
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError:
        raise UserError(_no_experiment(str(source))) from None
    except UnicodeDecodeError as error:
        raise UserError(f"{source} is not text (byte {error.start} is not UTF-8); save it as UTF-8") from None
    except tomllib.TOMLDecodeError as error:
        raise UserError(f"{source} is not TOML: {error}") from None
    _make_absolute(table, path.parent)
    return experiment_from(_changed_table(table, _parsed(overrides)), path.stem)


def experiment_from(table: Mapping[str, Any], name: str = "experiment") -> Experiment:
    """The experiment that a parsed TOML file describes. Raises UserError as `load_experiment`."""
    own = {key: value for key, value in table.items() if key not in SECTIONS}
    _check_known(own, [*_keys(Experiment), *SECTIONS], "")
    for section, value in table.items():
        if section in SECTIONS and not isinstance(value, list if section == "instances" else dict):
            header = f"[[{section}]]" if section == "instances" else f"[{section}]"
            raise UserError(f"{section} must be a section: write {header} on a line of its own and its keys below it")
    if "workload" not in table:
        raise UserError("the experiment has no [workload]; give a trace, or lengths, arrivals, rate and requests")
    if not table.get("instances"):
        raise UserError('the experiment has no instance; add [[instances]] with role = "mixed"')
    read = {section: _read(SECTIONS[section], table[section], section) for section in table if section in _PLAIN}
    if isinstance(slo := read.pop("slo", None), SLOSpec):
        read["slo"] = slo.slo()
    instances = tuple(_instance(each, f"instances.{i}") for i, each in enumerate(table["instances"]))
    return Experiment(**_values(Experiment, own, ""), **read, instances=instances, name=name, table=table)


_PLAIN = [section for section in SECTIONS if section != "instances"]


def changed(experiment: Experiment, changes: Mapping[str, Any]) -> Experiment:
    """See `Experiment.with_changes`."""
    return experiment_from(_changed_table(experiment.table, changes), experiment.name)


# keys


def _instance(table: Any, where: str) -> InstanceSpec:
    if not isinstance(table, dict):
        raise UserError(f"{where} must be a section: write [[instances]] on a line of its own and its keys below it")
    known = _keys(InstanceSpec)
    own = {key: value for key, value in table.items() if key in known}
    spec: InstanceSpec = _read(InstanceSpec, own, where)
    parameters = {key: value for key, value in table.items() if key not in known}
    allowed = list(inspect.signature(SCHEDULERS[spec.scheduler_name]).parameters)
    of_scheduler = f"scheduler {spec.scheduler_name!r} has {', '.join(allowed) or 'no parameters'}"
    _check_known(parameters, [*known, *allowed], where, of_scheduler)
    return InstanceSpec(**{key: getattr(spec, key) for key in known}, parameters=parameters)


def _read(section: type, table: Mapping[str, Any], where: str) -> Any:
    _check_known(table, _keys(section), where)
    return section(**_values(section, table, where))


def _keys(section: type) -> list[str]:
    return [each.name for each in fields(section) if "kind" in each.metadata]


def _values(section: type, table: Mapping[str, Any], where: str) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for each in fields(section):
        kind: Kind | None = each.metadata.get("kind")
        if kind is None:
            continue
        path = f"{where}.{each.name}" if where else each.name
        if each.name in table:
            values[each.name] = _named(path, kind, table[each.name])
        elif each.default is MISSING:
            raise UserError(f"the experiment does not say its {path}; it must be {kind.wants}")
    return values


def _named(path: str, kind: Kind, given: Any) -> Any:
    try:
        return kind.value(path, given)
    except UserError as error:
        raise error if str(error).startswith(path) else UserError(f"{path}: {error}") from None


def _check_known(table: Mapping[str, Any], known: Sequence[str], where: str, more: str = "") -> None:
    for key in table:
        if key not in known:
            dot = f"{where}." if where else ""
            near = get_close_matches(key, known, n=1, cutoff=0.0)[0]
            sentence = f"unknown key {dot}{key}: the nearest known one is {dot}{near}"
            raise UserError(f"{sentence}; {more}" if more else f"{sentence}; known here are {', '.join(known)}")


# changes


def _parsed(overrides: Iterable[str]) -> dict[str, Any]:
    changes: dict[str, Any] = {}
    for override in overrides:
        path, equals, text = override.partition("=")
        if not equals or not path.strip():
            raise UserError(f"--set takes key=value such as workload.rate=6, got {override!r}")
        changes[path.strip()] = _toml_value(text.strip())
    return changes


def _toml_value(text: str) -> Any:
    """A value as TOML writes it; text need not be quoted, and nothing at all takes the key out."""
    if not text:
        return None
    try:
        parsed = tomllib.loads(f"value = {text}")
    except tomllib.TOMLDecodeError:
        return text
    return parsed["value"] if parsed.keys() == {"value"} else text


def _changed_table(table: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    result: dict[str, Any] = deepcopy(dict(table))
    for path in changes:
        section, _, key = path.partition(".")
        for replaced in _REPLACES.get(key, ()) if section == "workload" else ():
            if f"workload.{replaced}" not in changes:
                result.get("workload", {}).pop(replaced, None)
    for path, value in changes.items():
        _set(result, path, value)
    return result


def _set(table: dict[str, Any], path: str, value: Any) -> None:
    *parents, last = path.split(".")
    place: Any = table
    for depth, name in enumerate(parents):
        place = _entry(place, name, parents[:depth]) if isinstance(place, list) else place.setdefault(name, {})
        if not isinstance(place, dict | list):
            raise UserError(f"unknown key {path}: {'.'.join(parents[: depth + 1])} is no section")
    if isinstance(place, list):
        _entry(place, last, parents)
        raise UserError(f"{path} cannot be set: name a key of it, such as {path}.count=2")
    if value is None:
        place.pop(last, None)
    else:
        place[last] = value


def _entry(entries: list[Any], name: str, parents: Sequence[str]) -> Any:
    if not name.isdecimal() or int(name) >= len(entries):
        where = ".".join(parents)
        shown = ", ".join(f"{where}.{i}" for i in range(len(entries)))
        raise UserError(f"there is no {where}.{name}; the experiment has {shown}")
    return entries[int(name)]


# files


def _make_absolute(table: dict[str, Any], folder: Path) -> None:
    """Paths in a file count from its own folder."""
    workload = table.get("workload")
    if isinstance(workload, dict) and isinstance(workload.get("trace"), str):
        workload["trace"] = str(folder / workload["trace"])
    instances = table.get("instances")
    for section in [table, *(instances if isinstance(instances, list) else [])]:
        for key in ("model", "hardware", "cost"):
            name = section.get(key) if isinstance(section, dict) else None
            if isinstance(name, str) and (name.endswith(".json") or "/" in name):
                section[key] = str(folder / name)


def _no_experiment(source: str) -> str:
    if Path(source).is_dir():
        return f"{source} is a folder; name the TOML file in it"
    names = preset_names()
    near = get_close_matches(source, names, n=1, cutoff=0.0)[0]
    return f"there is no file {source}, and no preset of that name; the nearest preset is {near} ({', '.join(names)})"
