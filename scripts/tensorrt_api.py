"""Write tests/unit/engines/tensorrt_names.json: which of the names that streamad uses exist in TensorRT's bindings.

python scripts/tensorrt_api.py            fetch the bindings with pip and write the file
python scripts/tensorrt_api.py --check    exit with 1 if the file does not match the bindings

The bindings are wheels but need the vendor's libraries, which are not on PyPI. They are loaded with empty stand-ins for
those libraries that define the required functions, built here with gcc. That is enough to inspect names and signatures,
but not to call anything.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
RECORD = ROOT / "tests" / "unit" / "engines" / "tensorrt_names.json"
VERSIONS = ("10.13.2.6", "10.16.1.11", "11.4.0.106")
SYMBOLS = (
    "createInferBuilder_INTERNAL", "createInferRuntime_INTERNAL", "createInferRefitter_INTERNAL",
    "createNvOnnxParser_INTERNAL", "createNvOnnxParserRefitter_INTERNAL", "getBuilderPluginRegistry",
    "getNvOnnxParserVersion", "getPluginRegistry", "initLibNvInferPlugins",
)  # fmt: skip
LIBRARIES = ("nvinfer", "nvinfer_plugin", "nvonnxparser")


def wanted() -> dict[str, list[str]]:
    """Map each class to the members that `streamad.engines.tensorrt.api` declares, including enumerations."""
    from streamad.engines.tensorrt import api

    found = {}
    for name, kind in vars(api).items():
        if isinstance(kind, type) and getattr(kind, "_is_protocol", False) and kind.__module__ == api.__name__:
            members = {*vars(kind), *getattr(kind, "__annotations__", {})}
            found[name] = sorted(member for member in members if not member.startswith("_"))
    return {**found, **{name: list(members) for name, members in api.ENUMS.items()}}


def names_in(module: Any) -> dict[str, dict[str, str | None]]:
    """For each name, its signatures in a module of bindings; "" if it is not a function, None if it is missing."""
    answer: dict[str, dict[str, str | None]] = {}
    for kind, members in wanted().items():
        owner = module if kind == "Module" else getattr(module, kind.removesuffix("Rtx"), None)
        answer[kind] = {member: _signature(owner, member) for member in members}
    return answer


def _signature(owner: Any, member: str) -> str | None:
    if not hasattr(owner, member):
        return None
    found = getattr(owner, member)
    if isinstance(found, type) or not callable(found):
        return ""
    text = found.__doc__ or ""
    # An overloaded function lists its forms; otherwise only the first line matters.
    forms = re.findall(rf"^(?:\d+\. )?({re.escape(member)}\((?!\*args).*)$", text, re.MULTILINE)
    return " | ".join(re.sub(r"\btensorrt\w*\.tensorrt\w*\.", "", form) for form in forms)


def record() -> dict[str, Any]:
    """Collect the names from the real bindings, by version."""
    answer = {}
    with tempfile.TemporaryDirectory() as folder:
        for version in VERSIONS:
            place = Path(folder) / version
            pip = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--only-binary", ":all:"]
            subprocess.run([*pip, "-d", str(place), f"tensorrt-cu13-bindings=={version}"], check=True)
            (wheel,) = place.glob("*.whl")
            zipfile.ZipFile(wheel).extractall(place)
            _stand_in(place, version.partition(".")[0])
            code = f"import json, sys; sys.path[:0] = [{str(ROOT)!r}, {str(ROOT / 'scripts')!r}]; import tensorrt_api"
            code += "; import tensorrt_bindings; print(json.dumps(tensorrt_api.names_in(tensorrt_bindings)))"
            environment = {**os.environ, "LD_LIBRARY_PATH": str(place), "PYTHONPATH": str(place)}
            ran = subprocess.run([sys.executable, "-c", code], env=environment, check=True, capture_output=True)
            answer[version] = json.loads(ran.stdout)
    return answer


def _stand_in(place: Path, major: str) -> None:
    source = place / "stub.c"
    source.write_text("".join(f"void *{symbol}(void) {{ return 0; }}\n" for symbol in SYMBOLS))
    for library in LIBRARIES:
        name = f"lib{library}.so.{major}"
        command = ["gcc", "-shared", "-fPIC", f"-Wl,-soname,{name}", "-o", str(place / name), str(source)]
        subprocess.run(command, check=True)


def main(arguments: list[str]) -> int:
    """Write the record, or compare it."""
    text = json.dumps(record(), indent=1, sort_keys=True) + "\n"
    current = RECORD.read_text() if RECORD.exists() else ""
    if "--check" in arguments:
        if text != current:
            print(f"{RECORD.relative_to(ROOT)} does not match the bindings; run python scripts/tensorrt_api.py")
        return int(text != current)
    RECORD.write_text(text)
    print(f"{RECORD.relative_to(ROOT)}: {'unchanged' if text == current else 'written'}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
