"""Run the GPU engine's tests with the real PyCUDA but without a GPU, on a stand-in for NVIDIA's driver.

python scripts/check_pycuda.py [FOLDER]      build in FOLDER (default: temporary), then run the tests; minutes at first

Needs gcc, g++ and pip: PyCUDA is compiled from source with the CUDA headers, which are a wheel. The stand-in
(tests/standins/libcuda.c) defers asynchronous work until its stream is synchronized, and counts missing contexts,
copies from memory that is not pinned, double frees and leaks. Run it by hand, because CI should not compile PyCUDA.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PYCUDA = "pycuda==2026.1"
HEADERS = "nvidia-cuda-runtime>=13,<14"
TESTS = ("tests/unit/engines/test_tensorrt_runner.py", "tests/unit/engines/test_tensorrt_stateful.py")
PROFILER = """#pragma once
#include <cuda.h>
typedef enum CUoutput_mode_enum { CU_OUT_KEY_VALUE_PAIR = 0, CU_OUT_CSV = 1 } CUoutput_mode;
extern "C" {
CUresult CUDAAPI cuProfilerInitialize(const char *, const char *, CUoutput_mode);
CUresult CUDAAPI cuProfilerStart(void);
CUresult CUDAAPI cuProfilerStop(void);
}
"""
"""The content of cudaProfiler.h, which is missing from the wheel of headers."""


def run(*command: str | Path, cwd: Path | None = None) -> str:
    return subprocess.run([str(c) for c in command], cwd=cwd, check=True, capture_output=True, text=True).stdout


def pip(*arguments: str | Path) -> None:
    run(sys.executable, "-m", "pip", "-q", "--disable-pip-version-check", *arguments)


def build_pycuda(folder: Path) -> Path:
    """Compile PyCUDA and return the folder from which Python can import it."""
    target = folder / "site"
    if (target / "pycuda").exists():
        return target
    pip("download", "--no-deps", "--only-binary", ":all:", "-d", folder, HEADERS)
    pip("download", "--no-deps", "--no-binary", "pycuda", "-d", folder, PYCUDA)
    (wheel,) = folder.glob("nvidia_cuda_runtime*.whl")
    zipfile.ZipFile(wheel).extractall(folder / "cuda")
    (header,) = (folder / "cuda").rglob("cuda.h")
    cuda = header.parent.parent
    (header.parent / "cudaProfiler.h").write_text(PROFILER)
    (runtime,) = (cuda / "lib").glob("libcudart.so.*")
    (cuda / "lib" / "libcudart.so").unlink(missing_ok=True)
    (cuda / "lib" / "libcudart.so").symlink_to(runtime.name)
    (folder / "empty.c").write_text("")  # linked in place of the driver, because the stand-in is preloaded
    run("gcc", "-shared", "-fPIC", "-Wl,-soname,libcuda.so.1", "-o", folder / "libcuda.so", folder / "empty.c")
    (archive,) = folder.glob("pycuda-*.tar.gz")
    with tarfile.open(archive) as sources:
        sources.extractall(folder, filter="data")
    source = folder / archive.name.removesuffix(".tar.gz")
    run(
        sys.executable, "configure.py", f"--cuda-root={cuda}", f"--cuda-inc-dir={cuda / 'include'}",
        "--no-cuda-enable-curand", f"--cudadrv-lib-dir={folder}", f"--cudart-lib-dir={cuda / 'lib'}", cwd=source,
    )  # fmt: skip
    pip("install", "--no-deps", "--target", target, "pytools", "platformdirs", "mako", "markupsafe", "siphash24")
    pip("install", "--no-deps", "--target", target, source)
    return target


def build_driver(folder: Path, pycuda: Path) -> Path:
    """Compile the stand-in. Functions that PyCUDA needs but no test uses return "not supported"."""
    source = ROOT / "tests" / "standins" / "libcuda.c"
    (module,) = (pycuda / "pycuda").glob("_driver*.so")
    wanted = set(re.findall(r"\bU (cu[A-Z]\w+)$", run("nm", "-D", "--undefined-only", module), re.MULTILINE))
    defined = set(re.findall(r"^int (cu\w+)\(", source.read_text(), re.MULTILINE))
    rest = folder / "rest.c"
    rest.write_text("".join(f"int {name}(void) {{ return 801; }}\n" for name in sorted(wanted - defined)))
    driver = folder / "driver" / "libcuda.so.1"
    driver.parent.mkdir(exist_ok=True)
    run("gcc", "-O1", "-Wall", "-shared", "-fPIC", "-Wl,-soname,libcuda.so.1", "-o", driver, source, rest, "-lpthread")
    print(f"PyCUDA uses {len(wanted)} functions of the driver; the stand-in implements {len(wanted & defined)} of them")
    return driver


def main(arguments: list[str]) -> int:
    """Build, and run the tests."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(arguments[0] if arguments else temporary).resolve()
        folder.mkdir(parents=True, exist_ok=True)
        pycuda = build_pycuda(folder)
        driver = str(build_driver(folder, pycuda))
        path = os.pathsep.join(filter(None, (str(ROOT), str(pycuda), os.environ.get("PYTHONPATH"))))
        environment = {**os.environ, "PYTHONPATH": path, "LD_PRELOAD": driver, "STREAMAD_STANDIN_CUDA": driver}
        ran = subprocess.run([sys.executable, "-m", "pytest", "-q", *TESTS], cwd=ROOT, env=environment, check=False)
        return ran.returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
