"""The Python records have the layout that the compiler gave the C structs, and the loader asks for maps that exist.

Read from the BTF of the built object with bpftool's JSON dump: sizes, field names, offsets.
"""

import ctypes
import json
import shutil
import subprocess
from typing import Any

import pytest

from loomidi.loom.capture import layouts, native

pytestmark = pytest.mark.kernel
OBJECTS = ("shield.bpf.o", "shield_inner.bpf.o")


def _types(name: str) -> list[dict[str, Any]]:
    tool = shutil.which("bpftool", path="/usr/sbin:/usr/bin:/sbin:/bin")
    if tool is None:
        pytest.skip("bpftool is not installed: it reads the BTF")
    dump = subprocess.run(
        [tool, "-j", "btf", "dump", "file", str(native.FOLDER / name)], check=True, capture_output=True, text=True
    )
    types: list[dict[str, Any]] = json.loads(dump.stdout)["types"]
    return types


def _structs(name: str) -> dict[str, dict[str, Any]]:
    return {each["name"]: each for each in _types(name) if each["kind"] == "STRUCT"}


@pytest.mark.parametrize("name", OBJECTS)
def test_every_record_lies_as_the_struct_does(name: str) -> None:
    structs = _structs(name)
    compared = [each for each in layouts.STRUCTS if each in structs]
    assert {"lm_record", "lm_verdict", "lm_control", "lm_watch_state", "lm_suspect", "lm_tunables"} <= set(compared)
    for struct in compared:
        record, members = layouts.STRUCTS[struct], structs[struct]["members"]
        assert ctypes.sizeof(record) == structs[struct]["size"], struct
        fields = [(field, getattr(record, field).offset * 8) for field, *_ in record._fields_]
        assert fields == [(each["name"], each["bits_offset"]) for each in members], struct


@pytest.mark.parametrize("name", OBJECTS)
def test_the_object_has_the_maps_that_the_loader_asks_for(name: str) -> None:
    section = next(each for each in _types(name) if each["kind"] == "DATASEC" and each["name"] == ".maps")
    names = {each["id"]: each["name"] for each in _types(name) if each["kind"] == "VAR"}
    assert sorted(names[var["type_id"]] for var in section["vars"]) == sorted(layouts.MAPS)


@pytest.mark.parametrize("name", OBJECTS)
def test_enums_have_the_values_that_python_uses(name: str) -> None:
    values = {v["name"]: v["val"] for each in _types(name) if each["kind"] == "ENUM" for v in each["values"]}
    for prefix, enum in (("LM_", layouts.Reason), ("LM_CAUSE_", layouts.Cause), ("LM_WATCH_", layouts.WatchKind)):
        for each in enum:
            assert values.get(f"{prefix}{each.name}", each.value) == each.value
    assert values.get("LM_REASONS", len(layouts.Reason)) == len(layouts.Reason) == len(native.REASONS)
    assert [reason.name.lower() for reason in layouts.Reason] == list(native.REASONS)
