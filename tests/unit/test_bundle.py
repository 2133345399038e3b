"""Model bundles: what loads, what is refused and why, and where bundles are found."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

import pytest
import yaml
from bundle_support import small_manifest

from streamad.bundle import Bundle, combined_sha256, load_bundle, write_manifest
from streamad.errors import BundleError, ExitCode
from streamad.model_folders import find_bundle, list_bundles
from streamad.versions import activate, new_version, older_version


def make(folder: Path, name: str = "small") -> Path:
    """A bundle whose network is no network: loading checks hashes, it does not run anything."""
    folder.mkdir(parents=True)
    (folder / "model.onnx").write_bytes(b"onnx " + name.encode())
    (folder / "weights.safetensors").write_bytes(b"weights")
    write_manifest(folder, small_manifest(name=name))
    return folder


def edit(folder: Path, change: dict[str, Any]) -> None:
    document = yaml.safe_load((folder / "model.yaml").read_text())
    document.update(change)
    (folder / "model.yaml").write_text(yaml.safe_dump(document))


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return make(tmp_path / "small")


@pytest.fixture
def no_other_bundles(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory; bundles that ship with the package may still be there."""
    monkeypatch.delenv("STREAMAD_MODELS", raising=False)
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    return tmp_path / "work"


def test_what_was_written_is_loaded_with_the_hashes_of_hashlib(bundle: Path) -> None:
    loaded = load_bundle(bundle)
    assert loaded.name == "small"
    assert loaded.manifest.files == {
        name: hashlib.sha256((bundle / name).read_bytes()).hexdigest() for name in ("model.onnx", "weights.safetensors")
    }
    assert loaded.sha256 == hashlib.sha256(b"onnx small").hexdigest()
    assert loaded.manifest == small_manifest().model_copy(update={"files": loaded.manifest.files})
    assert loaded.calibration_path is None
    (bundle / "calibration.json").write_text("{}")
    assert write_manifest(bundle, loaded.manifest).calibration_path == bundle / "calibration.json"
    assert "calibration.json" in load_bundle(bundle).manifest.files


@pytest.mark.parametrize("name", ["model.onnx", "weights.safetensors"])
def test_a_changed_file_is_refused_by_name(bundle: Path, name: str) -> None:
    with (bundle / name).open("ab") as file:
        file.write(b"!")
    with pytest.raises(BundleError, match=rf"{name} does not match model.yaml") as caught:
        load_bundle(bundle)
    assert caught.value.exit_code == ExitCode.ENGINE
    assert caught.value.hint


@pytest.mark.parametrize("name", ["model.onnx", "weights.safetensors"])
def test_a_missing_file_is_refused_by_name(bundle: Path, name: str) -> None:
    (bundle / name).unlink()
    with pytest.raises(BundleError, match=f"{name} is missing from"):
        load_bundle(bundle)


@pytest.mark.parametrize("name", ["model.onnx", "weights.safetensors"])
def test_a_manifest_that_lists_no_network_is_refused(bundle: Path, name: str) -> None:
    files = load_bundle(bundle).manifest.files
    edit(bundle, {"files": {k: v for k, v in files.items() if k != name}})
    with pytest.raises(BundleError, match=f"does not list {name}"):
        load_bundle(bundle)


def test_a_newer_format_says_to_update(bundle: Path) -> None:
    edit(bundle, {"format_version": 2, "something_new": True})
    with pytest.raises(BundleError, match="format 2; this version of streamad reads up to 1") as caught:
        load_bundle(bundle)
    assert "update streamad" in (caught.value.hint or "")


@pytest.mark.parametrize("version", [None, "one", 1.5, [1]])
def test_a_format_that_is_no_number_is_refused(bundle: Path, version: object) -> None:
    edit(bundle, {"format_version": version})
    with pytest.raises(BundleError, match="format_version"):
        load_bundle(bundle)


@pytest.mark.parametrize("name", ["../outside", "/etc/hostname", "sub/file", "..", ".", "link"])
def test_only_files_of_the_folder_itself_are_read(bundle: Path, name: str) -> None:
    outside = bundle.parent / "outside"
    outside.write_text("secret")
    (bundle / "sub").mkdir()
    (bundle / "sub" / "file").write_text("secret")
    (bundle / "link").symlink_to(outside)
    digest = hashlib.sha256(b"secret").hexdigest()
    edit(bundle, {"files": {**load_bundle(bundle).manifest.files, name: digest}})
    with pytest.raises(BundleError, match=r"bundle's folder|is missing from"):
        load_bundle(bundle)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a: [1", "is not valid YAML"),
        ("\x00", "is not valid YAML"),
        ("!!python/object/apply:os.system ['true']", "is not valid YAML"),
        ("- a\n- b\n", "not a mapping"),
        ("", "not a mapping"),
        ("when: 2024-99-99\n", "is not valid YAML"),
        ("[" * 5000, "is not valid YAML"),
    ],
)
def test_what_is_no_yaml_mapping_is_refused(bundle: Path, text: str, expected: str) -> None:
    (bundle / "model.yaml").write_text(text)
    with pytest.raises(BundleError, match=expected):
        load_bundle(bundle)


def test_binary_manifests_are_refused(bundle: Path) -> None:
    (bundle / "model.yaml").write_bytes(b"\xff\xfe\xfa")
    with pytest.raises(BundleError, match="is not valid YAML"):
        load_bundle(bundle)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"name": "Not A Name"}, "name"),
        ({"unknown": 1}, "unknown"),
        ({"input": {"channels": 0, "height": 30, "width": 30, "scale": 1, "offset": 0}}, "input.channels"),
        ({"tiling": {"kind": "pyramids"}}, "tiling.kind"),
    ],
)
def test_a_manifest_off_the_schema_names_the_place(bundle: Path, change: dict[str, Any], expected: str) -> None:
    edit(bundle, change)
    with pytest.raises(BundleError, match=f"does not match the bundle format: .*{expected}"):
        load_bundle(bundle)


def test_a_folder_without_manifest_is_no_bundle(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"is not a model bundle: model\.yaml is missing"):
        find_bundle(tmp_path)


@pytest.mark.usefixtures("no_other_bundles")
def test_found_by_path_name_and_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_other_bundles: Path
) -> None:
    path = make(tmp_path / "elsewhere" / "entrance", "entrance")
    with pytest.raises(BundleError, match="unknown model 'entrance'"):
        load_bundle("entrance")
    assert load_bundle(str(path)).name == "entrance"
    monkeypatch.setenv("STREAMAD_MODELS", str(tmp_path / "elsewhere"))
    assert find_bundle("entrance") == path
    assert path in list_bundles()
    # The folder of the environment comes before ./models.
    other = make(no_other_bundles / "models" / "entrance", "entrance")
    assert find_bundle("entrance") == path
    monkeypatch.delenv("STREAMAD_MODELS")
    assert find_bundle("entrance").resolve() == other


@pytest.mark.usefixtures("no_other_bundles")
@pytest.mark.parametrize("name", ["nothing", "a/b/c", "nul\x00byte"])
def test_an_unknown_name_lists_what_is_known(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    make(tmp_path / "elsewhere" / "entrance", "entrance")
    monkeypatch.setenv("STREAMAD_MODELS", str(tmp_path / "elsewhere"))
    with pytest.raises(BundleError, match="entrance"):
        find_bundle(name)


def test_a_name_longer_than_any_path_is_an_error_of_its_own() -> None:
    with pytest.raises(BundleError, match="xxx") as caught:
        find_bundle("x" * 5000)
    assert len(str(caught.value)) < 300


def test_a_folder_of_models_may_hold_other_things(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(tmp_path / "m" / "a", "a")
    (tmp_path / "m" / "notes.txt").write_text("x")
    (tmp_path / "m" / "empty").mkdir()
    monkeypatch.setenv("STREAMAD_MODELS", str(tmp_path / "m"))
    assert [p.name for p in list_bundles() if p.parent == tmp_path / "m"] == ["a"]


def test_the_combined_hash_follows_all_that_a_score_depends_on_and_nothing_else(bundle: Path) -> None:
    loaded = load_bundle(bundle)
    manifest = loaded.manifest
    reference = combined_sha256(loaded)
    same = manifest.model_copy(update={"description": "other words", "results": ({"auc": 1},)})
    assert combined_sha256(Bundle(bundle, same)) == reference
    changed = [
        manifest.model_copy(update={"score": manifest.score.model_copy(update={"median_frames": 9})}),
        manifest.model_copy(update={"tiling": manifest.tiling.model_copy(update={"motion_level": 20})}),
        manifest.model_copy(update={"input": manifest.input.model_copy(update={"max_height": 120})}),
        manifest.model_copy(update={"files": {**manifest.files, "model.onnx": "0" * 64}}),
    ]
    hashes = {combined_sha256(Bundle(bundle, m)) for m in changed}
    assert len(hashes | {reference}) == 5


def test_a_folder_that_cannot_be_written_is_an_output_error(bundle: Path) -> None:
    loaded = load_bundle(bundle)
    (bundle / "model.yaml").unlink()
    (bundle / "model.yaml").mkdir()
    with pytest.raises(OSError, match=r"model\.yaml"):
        write_manifest(bundle, loaded.manifest)
    assert not [name for name in os.listdir(bundle) if name.startswith(".")]


def test_a_bundle_with_versions_is_found_by_the_name_of_its_folder(
    no_other_bundles: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("STREAMAD_MODELS", str(tmp_path / "m"))
    home = tmp_path / "m" / "gate"
    for name in ("one", "two"):
        made = make(tmp_path / name, name)
        fresh = new_version(home)
        for file in made.iterdir():
            file.rename(fresh / file.name)
        activated = activate(home, fresh)
    for given in ("gate", home):
        loaded = load_bundle(given)
        assert (loaded.name, loaded.home.resolve()) == ("two", home.resolve())
        assert loaded.path == activated.resolve()  # a name that no later version changes
    assert load_bundle(older_version(home)).name == "one"
    assert home in list_bundles()


def test_what_is_kept_for_people_is_no_part_of_a_bundle(bundle: Path) -> None:
    for name in ("calibration.previous.json", ".model.onnx.half"):
        (bundle / name).write_text("x")
    assert set(write_manifest(bundle, small_manifest()).manifest.files) == {"model.onnx", "weights.safetensors"}
