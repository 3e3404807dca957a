"""Files of trained models, read back or refused."""

import json
import sys

import numpy as np
import pytest
import safetensors.numpy

from fedcode_jax import wire
from fedcode_jax.errors import CheckpointError, ConfigError
from fedcode_jax.results import model_files
from fedcode_jax.results.model_files import as_safetensors, checksum, read_model
from fedcode_jax.results.writing import to_json

RNG = np.random.default_rng(0)
VARIABLES = {
    "batch_stats/norm/mean": RNG.normal(size=3).astype(np.float32),
    "params/head/scale": np.array(0.5, np.float32),
    "params/head/bias": RNG.normal(size=3).astype(np.float32),
    "params/head/kernel": np.repeat(RNG.normal(size=3).astype(np.float32), 5).reshape(5, 3),
}
ABOUT = {"round": 3, "accuracy": np.float32(0.1), "model": "mlp", "checksum": checksum(VARIABLES)}
LAYOUT = [
    {"params/head/kernel": [5, 3]},
    {"batch_stats/norm/mean": [3], "params/head/scale": [], "params/head/bias": [3]},
]


def write_safetensors(folder, variables=VARIABLES, about=ABOUT):
    path = folder / "model.safetensors"
    path.write_bytes(as_safetensors(variables, about))
    return path


def write_message(folder, about=ABOUT, layout=LAYOUT, kind=wire.Kind.WEIGHTS):
    """The kernel as a codebook and codes, the others as floats."""
    kernel = VARIABLES["params/head/kernel"]
    centers, codes = np.unique(kernel, return_inverse=True)
    floats = [VARIABLES[name].ravel() for name in LAYOUT[1]]
    sections = (
        wire.Coded(centers, codes.ravel().astype(np.uint8), "entropy"),
        wire.Dense(np.concatenate(floats)),
    )
    path = folder / "model.fedcode"
    path.write_bytes(wire.encode(wire.Message(np.int32(kind), sections)))
    (folder / "model.json").write_text(to_json({**about, "sections": layout}))
    return path


def same(found):
    assert found.keys() == VARIABLES.keys()
    for name, array in VARIABLES.items():
        np.testing.assert_array_equal(found[name], array)
        assert found[name].shape == array.shape
        assert found[name].dtype == np.float32


def test_both_forms_come_back_with_what_is_said_of_them(tmp_path):
    found = read_model(write_safetensors(tmp_path))
    same(found.variables)
    assert found.about == {
        "round": "3",
        "accuracy": "0.10000000149011612",
        "model": "mlp",
        "checksum": ABOUT["checksum"],
    }
    same(safetensors.numpy.load_file(tmp_path / "model.safetensors"))
    found = read_model(write_message(tmp_path))
    same(found.variables)
    assert found.about["round"] == 3
    assert "sections" not in found.about


def test_a_checksum_tells_values_names_and_shapes_apart():
    others = [
        {**VARIABLES, "params/head/bias": VARIABLES["params/head/bias"] + 1},
        {**VARIABLES, "params/head/kernel": VARIABLES["params/head/kernel"].reshape(3, 5)},
        {name.replace("head", "tail"): array for name, array in VARIABLES.items()},
    ]
    assert len({checksum(each) for each in [VARIABLES, *others]}) == 4
    assert checksum(dict(reversed(VARIABLES.items()))) == ABOUT["checksum"]


@pytest.mark.parametrize("dtype", ["F16", "BF16", "F64"])
def test_files_of_other_programs_come_as_float32(tmp_path, dtype):
    array = np.float32([[0.5, -1.25]])
    upper = array.view("<u2")[:, 1::2]  # half of a float32 is a bfloat16
    data = {"F16": array.astype("<f2"), "BF16": upper, "F64": array.astype("<f8")}[dtype].tobytes()
    tensor = {"dtype": dtype, "shape": [1, 2], "data_offsets": [0, len(data)]}
    header = json.dumps({"w": tensor}).encode()
    path = tmp_path / "their.safetensors"
    path.write_bytes(len(header).to_bytes(8, "little") + header + data)
    found = read_model(path)
    assert found.variables["w"].tolist() == array.tolist()
    assert found.variables["w"].dtype == np.float32
    assert found.about == {}


def test_what_is_no_float_is_refused(tmp_path):
    path = tmp_path / "their.safetensors"
    safetensors.numpy.save_file({"steps": np.arange(3)}, path)
    with pytest.raises(CheckpointError, match=r"steps is of type I64; save it as one of F16"):
        read_model(path)


@pytest.mark.parametrize("write", [write_safetensors, write_message])
def test_a_file_that_is_cut_off_or_changed_anywhere_is_refused(tmp_path, write):
    path = write(tmp_path)
    whole = path.read_bytes()
    for size in (0, 1, 2, 5, 8, 9, 30, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:size])
        with pytest.raises(CheckpointError, match=str(path)):
            read_model(path)
    values = range(len(whole) - 40, len(whole), 7)
    for place in values:
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        with pytest.raises(CheckpointError, match=r"damaged|cannot be decoded"):
            read_model(path)
    path.write_bytes(whole)
    same(read_model(path).variables)


@pytest.mark.parametrize(
    "layout",
    [
        LAYOUT[:1],
        [*LAYOUT, {}],
        LAYOUT[::-1],
        [{"params/head/kernel": [5, 2]}, LAYOUT[1]],
        [{"params/head/kernel": [5, -3]}, LAYOUT[1]],
        [LAYOUT[0], {"params/head/bias": [3]}],
        [LAYOUT[0], {"params/head/bias": [8]}],
        [["params/head/kernel"], LAYOUT[1]],
        {"params/head/kernel": [5, 3]},
        None,
    ],
)
def test_a_page_that_does_not_fit_the_message_is_refused(tmp_path, layout):
    path = write_message(tmp_path, layout=layout)
    with pytest.raises(CheckpointError, match=r"model\.json: does not say which variables"):
        read_model(path)


def test_a_message_alone_and_those_without_weights_are_refused(tmp_path):
    path = write_message(tmp_path, kind=wire.Kind.CODEBOOK)
    with pytest.raises(CheckpointError, match="a message without weights"):
        read_model(path)
    path = write_message(tmp_path)
    (tmp_path / "model.json").write_text("{")
    with pytest.raises(CheckpointError, match="copy both of one export"):
        read_model(path)
    (tmp_path / "model.json").unlink()
    with pytest.raises(CheckpointError, match=r"model\.json: cannot be read"):
        read_model(path)
    with pytest.raises(CheckpointError, match=r"nowhere: cannot be read"):
        read_model(tmp_path / "nowhere")


def test_a_page_of_another_export_is_refused(tmp_path):
    path = write_message(tmp_path, about={**ABOUT, "checksum": "0" * 64})
    with pytest.raises(CheckpointError, match="damaged"):
        read_model(path)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_are_refused(tmp_path, value):
    bad = {**VARIABLES, "params/head/bias": np.float32([0, value, 1])}
    path = write_safetensors(tmp_path, bad, {"checksum": checksum(bad)})
    with pytest.raises(CheckpointError, match="not finite in params/head/bias;"):
        read_model(path)
    large = {"w": np.array([1e39])}  # finite, and not in float32
    safetensors.numpy.save_file(large, path)
    with pytest.raises(CheckpointError, match="not finite in w"):
        read_model(path)


def test_without_the_package_what_to_install_is_said(tmp_path, monkeypatch):
    path = write_safetensors(tmp_path)
    for module in ("safetensors", "safetensors.numpy"):
        monkeypatch.setitem(sys.modules, module, None)
    for call in (lambda: read_model(path), lambda: as_safetensors(VARIABLES, ABOUT)):
        with pytest.raises(ConfigError, match="pip install safetensors"):
            call()
    same(read_model(write_message(tmp_path)).variables)


def test_paths_are_those_of_flax():
    tree = {"params": {"head": {"kernel": np.ones((1, 2))}}, "batch_stats": {"mean": np.zeros(())}}
    found = model_files.by_path(tree)
    assert {name: array.shape for name, array in found.items()} == {
        "params/head/kernel": (1, 2),
        "batch_stats/mean": (),
    }
    assert json.loads(to_json(found["params/head/kernel"])) == [[1.0, 1.0]]
