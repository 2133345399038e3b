"""Bundles that somebody else made: every byte that is loaded is listed, hashed and in the bundle's own folder."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import yaml
from bundle_support import small_manifest
from onnx import TensorProto, helper, numpy_helper

from streamad.bundle import ONNX, load_bundle, write_manifest
from streamad.errors import BundleError
from streamad.onnx_file import has_external_data


def tensor(*, external: bool = False) -> TensorProto:
    made = numpy_helper.from_array(np.arange(4, dtype=np.float32), "w")
    if external:
        made.ClearField("raw_data")
        made.data_location = TensorProto.EXTERNAL
        made.external_data.add(key="location", value="../secret.bin")
    return made


def graph(place: str, *, external: bool) -> onnx.ModelProto:
    """A network whose weight lies in one of the places that ONNX has for weights."""
    inside = tensor(external=external)
    nodes, initializers, functions, sparse = [helper.make_node("Identity", ["x"], ["y"])], [], [], []
    if place == "initializer":
        initializers = [inside]
    elif place == "constant":
        nodes.append(helper.make_node("Constant", [], ["c"], value=inside))
    elif place == "list":
        nodes.append(helper.make_node("Custom", [], ["c"], values=[tensor(), inside]))
    elif place == "branch":
        branch = helper.make_graph([], "branch", [], [], [inside])
        outer = helper.make_graph([helper.make_node("If", ["x"], ["z"], then_branch=branch)], "outer", [], [])
        nodes.append(helper.make_node("If", ["x"], ["c"], else_branch=outer))
    elif place == "function":
        body = [helper.make_node("Constant", [], ["c"], value=inside)]
        functions = [helper.make_function("own", "F", [], ["c"], body, [helper.make_opsetid("", 17)])]
    elif place == "sparse":
        sparse = [helper.make_sparse_tensor(inside, numpy_helper.from_array(np.arange(4)), [4])]
    value = helper.make_tensor_value_info("x", TensorProto.FLOAT, [4])
    answer = helper.make_tensor_value_info("y", TensorProto.FLOAT, [4])
    made = helper.make_graph(nodes, "g", [value], [answer], initializers, sparse_initializer=sparse)
    return helper.make_model(made, functions=functions)


PLACES = ("initializer", "constant", "list", "branch", "function", "sparse")


def make(folder: Path, network: bytes | None = None) -> Path:
    folder.mkdir(parents=True)
    (folder / ONNX).write_bytes(
        graph("initializer", external=False).SerializeToString() if network is None else network
    )
    (folder / "weights.safetensors").write_bytes(b"weights")
    write_manifest(folder, small_manifest())
    return folder


def listed(folder: Path, name: str, content: bytes) -> None:
    """Add a name to the manifest with the hash of a content."""
    document = yaml.safe_load((folder / "model.yaml").read_text())
    document["files"][name] = hashlib.sha256(content).hexdigest()
    (folder / "model.yaml").write_text(yaml.safe_dump(document))


@pytest.mark.parametrize("place", PLACES)
def test_weights_in_another_file_are_refused_wherever_the_network_has_them(tmp_path: Path, place: str) -> None:
    load_bundle(make(tmp_path / "whole", graph(place, external=False).SerializeToString()))
    network = graph(place, external=True).SerializeToString()
    for number, content in enumerate((
        network,
        b"\x0b\x3a\x01\xff\x0c" + network,  # after a group, an old form that readers skip
        network + graph("initializer", external=False).SerializeToString(),  # protobuf joins the two
    )):  # fmt: skip
        with pytest.raises(BundleError, match=r"model\.onnx keeps weights in other files"):
            load_bundle(make(tmp_path / str(number), content))


def test_a_network_that_is_damaged_inside_or_is_no_onnx_is_not_trusted(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="not a model file"):
        load_bundle(make(tmp_path / "inside", b"\x3a\x02\xff\xff"))
    with pytest.raises(BundleError, match="content does not match its name"):  # its weights would be in model.bin
        load_bundle(make(tmp_path / "xml", b"<?xml version='1.0'?><net></net>"))


def test_every_shipped_network_holds_its_own_weights() -> None:
    files = sorted((Path(__file__).parents[2] / "models").glob("*/*.onnx"))
    assert files
    assert not [path for path in files if has_external_data(path)]


def test_deeply_nested_graphs_end(tmp_path: Path) -> None:
    content = b""
    for _ in range(20_000):  # a graph in an attribute of a node, over and over
        for tag in (b"\x32", b"\x2a", b"\x0a"):
            size = len(content)
            length = b""
            while size >= 0x80:
                length += bytes([size & 0x7F | 0x80])
                size >>= 7
            content = tag + length + bytes([size]) + content
        if len(content) > 100_000:
            break
    (tmp_path / "deep.onnx").write_bytes(
        b"\x3a" + bytes([0x80 | len(content) & 0x7F, 0x80 | len(content) >> 7 & 0x7F, len(content) >> 14]) + content
    )
    assert not has_external_data(tmp_path / "deep.onnx")


@pytest.mark.parametrize("name", ["calibration.json", "model.int8.bin"])
def test_what_would_be_loaded_unlisted_is_refused(tmp_path: Path, name: str) -> None:
    bundle = make(tmp_path / "small")
    (bundle / "model.int8.xml").write_bytes(b"<net/>")
    listed(bundle, "model.int8.xml", b"<net/>")
    load_bundle(bundle)
    (bundle / "notes.txt").write_text("of no concern")
    load_bundle(bundle)
    (bundle / name).write_bytes(b"{}")
    with pytest.raises(BundleError, match=f"contains {name}, which model.yaml does not list"):
        load_bundle(bundle)


@pytest.mark.parametrize(
    "name",
    [
        "../secret",
        "/etc/hostname",
        "sub/file",
        "sub/../../secret",
        "..",
        ".",
        "",
        "nul\0",
        "x" * 300,
        "link",
        "a\\..\\b",
    ],
)
def test_no_name_leads_out_of_the_folder(tmp_path: Path, name: str) -> None:
    bundle = make(tmp_path / "small")
    (tmp_path / "secret").write_bytes(b"secret")
    (bundle / "sub").mkdir()
    (bundle / "sub" / "file").write_bytes(b"secret")
    (bundle / "link").symlink_to(tmp_path / "secret")
    listed(bundle, name, b"secret")
    with pytest.raises(BundleError):
        load_bundle(bundle)


@pytest.mark.parametrize("change", ["link", "folder"])
def test_a_version_outside_its_folder_is_not_loaded(tmp_path: Path, change: str) -> None:
    make(tmp_path / "elsewhere")
    home = tmp_path / "gate"
    home.mkdir()
    (home / "current").symlink_to("../elsewhere" if change == "link" else tmp_path / "elsewhere")
    with pytest.raises(BundleError, match="gate"):
        load_bundle(home)


def laughs() -> str:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{k}: &a{k} [{', '.join([f'*a{k - 1}'] * 9)}]" for k in range(1, 20)]
    return "\n".join(lines)


MANIFESTS: dict[str, Callable[[], str]] = {
    "aliases": laughs,
    "merged aliases": lambda: laughs().replace("[x, ", "{y: 1} # ").replace("[", "{<<: [").replace("]", "]}"),
    "an alias of itself": lambda: "a: &a [*a]",
    "depth": lambda: "a: " + "[" * 50_000,
    "depth in blocks": lambda: "\n".join(" " * k + "a:" for k in range(700)),
    "many values": lambda: "a: [" + "x," * 120_000 + "x]",
    "a number of base 60": lambda: "a: 1" + ":59" * 80_000,
    "a long number": lambda: "a: " + "9" * 200_000,
    "size": lambda: "a: " + "x" * (1 << 19),
    "a zero byte": lambda: "a: \0",
}  # fmt: skip


@pytest.mark.parametrize(
    "kind", [pytest.param(kind, marks=[pytest.mark.slow] if kind == "many values" else []) for kind in MANIFESTS]
)
def test_a_manifest_that_is_a_bomb_gets_one_sentence(tmp_path: Path, kind: str) -> None:
    bundle = make(tmp_path / "small")
    (bundle / "model.yaml").write_text(MANIFESTS[kind]())
    with pytest.raises(BundleError, match=r"model\.yaml") as caught:
        load_bundle(bundle)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 1000


def test_a_huge_file_is_refused_before_it_is_read(tmp_path: Path) -> None:
    for name in (ONNX, "weights.safetensors", "model.yaml"):
        bundle = make(tmp_path / name)
        with (bundle / name).open("wb") as file:
            file.truncate(20 << 30)
        with pytest.raises(BundleError, match="21,474,836,480 bytes"):
            load_bundle(bundle)
        shutil.rmtree(bundle)
