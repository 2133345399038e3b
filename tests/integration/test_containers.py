"""The container files, checked without a container engine: every path, port and option of the compose file, and the
Dockerfile's own steps in a file system of their own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import textwrap
import time
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
import yaml
from bundle_support import THRESHOLD, moving_shapes, write_mp4
from program_support import program

from streamad.config import load_config

ROOT = Path(__file__).resolve().parents[2]
CONFIGS = ROOT / "configs"


def compose() -> dict[str, Any]:
    document = yaml.safe_load((CONFIGS / "compose.yaml").read_text())
    assert isinstance(document, dict)
    return document


@dataclass
class Stage:
    """A stage of the Dockerfile: its steps in order, as (instruction, text)."""

    base: str
    name: str | None
    steps: list[tuple[str, str]] = field(default_factory=list)

    def values(self, instruction: str) -> list[str]:
        return [text for name, text in self.steps if name == instruction]


def stages() -> list[Stage]:
    text = (CONFIGS / "Dockerfile").read_text().replace("\\\n", " ")
    found: list[Stage] = []
    for line in text.splitlines():
        instruction, _, rest = line.strip().partition(" ")
        if not instruction or instruction.startswith("#"):
            continue
        if instruction == "FROM":
            base, _, name = rest.partition(" AS ")
            found.append(Stage(base, name or None))
        else:
            found[-1].steps.append((instruction, rest.strip()))
    return found


# ── compose.yaml ───────────────────────────────────────────────────────────────────────────────────────────────────


def test_every_path_of_the_compose_file_exists() -> None:
    document = compose()
    used = set()
    for service in document["services"].values():
        for volume in service["volumes"]:
            source, target, *_ = volume.split(":")
            assert target.startswith("/")
            if source.startswith("."):
                assert (CONFIGS / source).is_file(), source
            else:
                used.add(source)
        if "build" in service:
            context = (CONFIGS / service["build"]["context"]).resolve()
            assert context == ROOT
            assert (context / service["build"]["dockerfile"]).is_file()
        else:
            assert ":v" in service["image"], "a fixed version"
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
    assert used == set(document["volumes"])
    ignored = subprocess.run(["git", "check-ignore", "configs/gate.secret"], cwd=ROOT, check=False, capture_output=True)
    assert ignored.returncode in (0, 128), "secrets are not committed (128: not a checkout)"


def test_every_setting_in_the_container_is_there() -> None:
    """Paths of the container's configuration are mounted, and what it writes is in the volume."""
    service = compose()["services"]["streamad"]
    final = stages()[-1]
    config = load_config(CONFIGS / "container.yaml")
    mounts = {target: source for source, target, *_ in (volume.split(":") for volume in service["volumes"])}
    (command,) = final.values("CMD")
    assert mounts[json.loads(command)[-1]] == "./container.yaml"
    (working,) = final.values("WORKDIR")
    assert working in mounts
    written = [config.events.path, config.evidence.folder, config.history.folder, config.outbox.folder]
    written.append(Path(config.model or ""))
    for path in written:
        assert (PurePosixPath(working) / path.as_posix()).is_relative_to(working), path
    assert not any(volume.endswith(":ro") and f":{working}" in volume for volume in service["volumes"])
    secrets = {f"/run/secrets/{name}" for name in service["secrets"]}
    assert set(service["secrets"]) == set(compose()["secrets"])
    assert {str(camera.source.secret_file) for camera in config.cameras} <= secrets  # type: ignore[union-attr]


def test_the_ports_of_all_services_match() -> None:
    services = compose()["services"]
    assert all(service["network_mode"] == "host" for service in services.values())
    prometheus = yaml.safe_load((CONFIGS / "prometheus.yml").read_text())
    web = load_config(CONFIGS / "container.yaml").web
    (job,) = prometheus["scrape_configs"]
    assert job["static_configs"][0]["targets"] == [f"{web.host}:{web.port}"]
    (manager,) = prometheus["alerting"]["alertmanagers"]
    (address,) = manager["static_configs"][0]["targets"]
    assert f"--web.listen-address={address}" in services["alertmanager"]["command"]
    for service in ("prometheus", "alertmanager"):
        (file,) = [option.partition("=")[2] for option in services[service]["command"] if "config.file" in option]
        assert any(volume.split(":")[1] == file for volume in services[service]["volumes"])
        (data,) = [option.partition("=")[2] for option in services[service]["command"] if "--storage" in option]
        assert any(volume.split(":")[1] == data for volume in services[service]["volumes"])
    rules = PurePosixPath("/etc/prometheus") / prometheus["rule_files"][0]
    assert any(volume.split(":")[1] == str(rules) for volume in services["prometheus"]["volumes"])


def test_alertmanager_accepts_its_configuration() -> None:
    command = [program("amtool"), "check-config", str(CONFIGS / "alertmanager.yml")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    rules = yaml.safe_load((CONFIGS / "prometheus-rules.yml").read_text())
    names = {rule["alert"] for group in rules["groups"] for rule in group["rules"]}
    document = yaml.safe_load((CONFIGS / "alertmanager.yml").read_text())
    sides = ("source_matchers", "target_matchers")
    matchers = [matcher for rule in document["inhibit_rules"] for side in sides for matcher in rule[side]]
    matchers += [m for route in document["route"]["routes"] for m in route["matchers"]]
    for matcher in matchers:
        _, _, value = matcher.partition('"')
        for name in value.rstrip('"').split("|"):
            assert name in names or name == "Streamad.+", matcher


# ── Dockerfile ─────────────────────────────────────────────────────────────────────────────────────────────────────


def test_layers_that_change_rarely_come_first() -> None:
    build, final = stages()
    steps = [f"{name} {text}" for name, text in build.steps]
    dependencies = next(k for k, step in enumerate(steps) if step.startswith("RUN pip install -c"))
    source = next(k for k, step in enumerate(steps) if step.startswith("COPY streamad"))
    before = [step for step in steps[:dependencies] if step.startswith("COPY")]
    assert before == ["COPY pyproject.toml constraints.txt ./"]
    assert dependencies < source
    for text in build.values("COPY"):
        for name in text.split()[:-1]:
            assert (ROOT / name).exists(), name
    assert build.base == final.base
    assert final.values("USER") == ["streamad"]
    assert [name for name, _ in final.steps].index("USER") < [name for name, _ in final.steps].index("ENTRYPOINT")
    (check,) = final.values("HEALTHCHECK")
    (command,) = final.values("CMD")
    assert json.loads(check.partition("CMD ")[2])[-1] == json.loads(command)[-1], "the port of the same configuration"


SCRIPT = """
set -euo pipefail
mount -t proc proc /proc  # of the processes here alone
enter() {{ chroot "$1" /usr/bin/env -i HOME=/tmp {kept} "${{@:2}}"; }}
layer() {{  # NAME LOWER: a root file system over LOWER whose changes are its own
    mkdir -p "$1/upper" "$1/work" "$1/root"
    mount -t overlay overlay -o "lowerdir=$2,upperdir=$1/upper,workdir=$1/work" "$1/root"
    mount --rbind /dev "$1/root/dev"; mount -t proc proc "$1/root/proc"
    mount -t tmpfs tmpfs "$1/root/tmp"
    for folder in {parents}; do chmod o+rx "$1/root$folder"; done  # where this machine's Python is
}}
"""


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    """A folder where overlays may be mounted."""
    if os.geteuid() != 0 or shutil.which("unshare") is None:
        pytest.skip("building in a file system of its own needs root and unshare")
    probe = tmp_path / "probe"
    for name in ("lower", "upper", "work", "root"):
        (probe / name).mkdir(parents=True)
    mount = (
        f"mount -t overlay overlay -o lowerdir={probe}/lower,upperdir={probe}/upper,workdir={probe}/work {probe}/root"
    )
    tried = subprocess.run(["unshare", "--mount", "sh", "-c", mount], capture_output=True, text=True, check=False)
    if tried.returncode != 0:
        pytest.skip(f"overlays cannot be mounted here: {tried.stderr.strip()}")
    return tmp_path


def steps_of(stage: Stage, folder: Path, root: str, environment: dict[str, str]) -> list[str]:
    """Shell commands that do what the engine would do for a stage, up to its user."""
    lines, working = [], "/"
    for name, text in stage.steps:
        if name == "ENV":
            for pair in text.split():
                key, _, value = pair.partition("=")
                environment[key] = value.replace("$PATH", environment.get("PATH", os.defpath))
        elif name == "WORKDIR":
            working = text
            lines.append(f'mkdir -p "{root}{text}"')
        elif name == "COPY" and text.startswith("--from=build "):
            source, target = text.split()[1:]
            lines.append(
                f'mkdir -p "$(dirname "{root}{target}")"; cp -a "{folder}/build/root{source}" "{root}{target}"'
            )
        elif name == "COPY":
            *sources, target = text.split()
            for source in sources:
                is_folder = (ROOT / source).is_dir()
                to = f"{root}{working}/{target}"
                lines.append(f'cp -rT "{ROOT}/{source}" "{to}"' if is_folder else f'cp "{ROOT}/{source}" "{to}"')
        elif name == "RUN":
            settings = " ".join(f"{key}={value}" for key, value in environment.items())
            script = folder / f"run-{len(lines)}-{stage.name}.sh"
            script.write_text(f"set -e; cd {working}\n{text}\n")
            lines.append(f'cp {script} "{root}/tmp/step.sh"; enter "{root}" {settings} sh /tmp/step.sh')
    return lines


@pytest.mark.slow
@pytest.mark.alone
@pytest.mark.timeout(1500)
def test_the_steps_of_the_dockerfile_give_a_service_that_runs_read_only(disk: Path, small_bundle: Path) -> None:
    """Build with this machine's Debian and Python in place of the base image, then run as its user, read-only."""
    build, final = stages()
    data, etc = disk / "data", disk / "etc"
    for path in (data, etc):
        path.mkdir()
    shutil.copytree(small_bundle, data / "models" / "gate")
    write_mp4(data / "still.mp4", moving_shapes(60))
    source = {"type": "file", "path": "still.mp4", "realtime": True, "loop": True}
    config = {
        "model": "models/gate",
        "cameras": [{"id": "gate", "source": source, "threshold": THRESHOLD}],
        "evidence": {"min_free_gigabytes": 0},
        "web": {"port": 18080},
    }
    (etc / "camera.yaml").write_text(yaml.safe_dump(config))
    subprocess.run(["chown", "-R", "10001:10001", data], check=True)
    environment: dict[str, str] = {"PATH": f"{Path(sys.base_prefix) / 'bin'}:{os.defpath}:/usr/sbin:/sbin"}
    first = steps_of(build, disk, f"{disk}/build/root", environment)
    environment = {"PATH": environment["PATH"]}
    second = steps_of(final, disk, f"{disk}/final/root", environment)
    names = (
        "PIP_",
        "HTTP",
        "http",
        "SSL_",
        "REQUESTS_",
        "OPENBLAS",
        "no_proxy",
        "NO_PROXY",
    )  # how pip reaches its index
    kept = " ".join(f"{key}='{value}'" for key, value in os.environ.items() if key.startswith(names))
    settings = " ".join(f"{key}={value}" for key, value in environment.items())
    (entry,), (command,), (check,) = (final.values(name) for name in ("ENTRYPOINT", "CMD", "HEALTHCHECK"))
    program = " ".join(json.loads(entry) + json.loads(command))
    health = " ".join(json.loads(check.partition("CMD ")[2]))
    user = "setpriv --reuid 10001 --regid 10001 --clear-groups --no-new-privs --inh-caps=-all --bounding-set=-all"
    python = Path(sys.base_prefix)
    parents = " ".join(map(str, [*reversed(python.parents), python]))
    text = SCRIPT.format(kept=kept, parents=parents) + "\n".join([
        f"layer {disk}/build /",
        *first,
        f"layer {disk}/final /",
        *second,
        f"R={disk}/final/root",
        "mkdir -p $R/data $R/etc/streamad",
        f"mount --bind {data} $R/data; mount --bind {etc} $R/etc/streamad",
        "mount -o remount,ro,bind $R/etc/streamad; mount -o remount,ro $R",
        "! touch $R/opt/evil 2>/dev/null",
        f'run() {{ enter $R {settings} {user} sh -c "cd /data; exec $1"; }}',
        textwrap.dedent(f"""
            run "{program}" > {disk}/out 2> {disk}/err & pid=$!
            for _ in $(seq 120); do run "{health}" && break; sleep 0.5; kill -0 $pid; done
            run "{health} --ready"
            run "id -u"
            run "touch /opt/evil" || true
            run "streamad backup /etc/streamad/camera.yaml --out backups/now.zip"
            run "streamad events list /etc/streamad/camera.yaml"
            run "python -c 'import streamad, paho.mqtt, apprise, http_ece, py_vapid; print(streamad.__file__)'"
            kill -TERM $(pgrep -f -n "streamad {json.loads(command)[0]} /etc/streamad")
            wait $pid && echo ended cleanly
        """),
    ])  # fmt: skip
    (disk / "all.sh").write_text(text)
    started = time.monotonic()
    alone = ["unshare", "--mount", "--propagation", "private", "--pid", "--fork", "--kill-child"]
    ran = subprocess.run(
        [*alone, "bash", str(disk / "all.sh")], capture_output=True, text=True, check=False, timeout=1400
    )
    told = (
        f"{ran.stdout[-3000:]}\n{ran.stderr[-5000:]}\n{(disk / 'err').read_text() if (disk / 'err').exists() else ''}"
    )
    assert ran.returncode == 0, f"after {time.monotonic() - started:.0f} s: {told}"
    assert "/readyz" in ran.stdout
    assert "10001" in ran.stdout
    assert "Read-only file system" in ran.stderr
    assert "/opt/streamad/lib" in ran.stdout
    assert "ended cleanly" in ran.stdout, told
    assert (data / "backups" / "now.zip").stat().st_uid == 10001
    assert (data / "runs" / "events.sqlite").is_file()
