"""SPECs and the data that a plan stores, both ways."""

import json

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

import problems
from tutelage import kernels
from tutelage.exceptions import StudentError
from tutelage.students import (
    TorchStudent,
    as_student,
    from_dict,
    network_of,
    student,
    to_dict,
)
from tutelage.students.spec import specs
from tutelage.train import Training

SPECS = [
    "mlp",
    "mlp:depth=1,activation=erf,weight_var=1.5",
    "resmlp:blocks=2",
    "cnn:depth=2,padding=circular,head=global_avg_pool,avg_pool=2",
    "resnet:blocks=1,kernel_size=5",
    "mlp:width=16,depth=2,activation=gelu",
    "cnn:width=4",
    "resnet:width=4,blocks=2",
    "tutelage.train.networks:cnn",
]


@pytest.mark.parametrize("spec", SPECS)
@pytest.mark.parametrize("linearise", ["warm", "init"])
def test_a_student_is_read_back_from_its_data(spec, linearise):
    made = student(spec, linearise=linearise, training=Training(epochs=3), epochs=7)
    data = json.loads(json.dumps(to_dict(made)))
    again = from_dict(data, training=Training(epochs=3), epochs=7)
    assert again.spec == made.spec
    assert to_dict(again) == to_dict(made)
    if isinstance(made, TorchStudent):
        assert (again.linearise, again.training, again.epochs) == (linearise, made.training, 7)
    else:
        assert again == made


LAYERS = st.one_of(
    st.builds(kernels.LeakyRelu, st.floats(-2, 0.9)),
    st.sampled_from([kernels.Relu(), kernels.Erf(), kernels.Gelu(), kernels.Abs()]),
)
DENSE = st.builds(kernels.Dense, st.floats(0.1, 3), st.floats(0, 3))


@given(st.lists(st.tuples(DENSE, LAYERS), max_size=3), DENSE, st.booleans())
def test_layers_are_read_back_from_their_data(blocks, last, residual):
    inner = [layer for pair in blocks for layer in pair]
    if residual and blocks:
        inner = [blocks[0][0], kernels.Residual(*reversed(blocks[0])), *inner[1:]]
    made = kernels.Sequential(*inner, last)
    assert from_dict(json.loads(json.dumps(to_dict(made)))) == made


def test_layers_of_images_are_read_back_from_their_data():
    made = kernels.Sequential(
        kernels.Normalise(),
        kernels.Conv(3, 2, "valid"),
        kernels.Residual(kernels.Relu(), kernels.Conv(), shortcut=(kernels.Conv(1),)),
        kernels.AvgPool(2),
        kernels.GlobalAvgPool(),
        kernels.Dense(),
    )
    assert from_dict(json.loads(json.dumps(to_dict(made)))) == made


@pytest.mark.parametrize(
    "made",
    [
        kernels.Sequential(kernels.Dense(), kernels.Elementwise(torch.tanh), kernels.Dense()),
        kernels.empirical(nn.Linear(3, 2)),
        TorchStudent(lambda shape, n: nn.Linear(3, n), "of mine"),
    ],
)
def test_what_was_made_in_python_cannot_be_made_again(made):
    with pytest.raises(StudentError, match="was made in Python, and the plan cannot say how"):
        network_of(json.loads(json.dumps(to_dict(made))))


def test_a_closed_form_of_the_same_layers_is_trained_as_the_same_network():
    made = kernels.Sequential(*kernels.mlp(depth=2).layers)
    assert network_of(made).spec == network_of("mlp:depth=2").spec
    assert network_of(to_dict(made)).spec == network_of("mlp:depth=2").spec
    with pytest.raises(StudentError, match="is a kernel, and cannot be trained"):
        network_of(kernels.empirical(nn.Linear(3, 2)))


def test_several_specs_stand_between_commas():
    assert specs("mlp") == ["mlp"]
    assert specs("mlp:width=8,depth=1, cnn:width=4,my_model:make,hf:a/b,mlp") == [
        "mlp:width=8,depth=1", "cnn:width=4", "my_model:make", "hf:a/b", "mlp",
    ]  # fmt: skip
    assert specs("mlp:depth=2,activation=erf,") == ["mlp:depth=2,activation=erf"]


def test_a_function_of_a_module_is_found_again():
    """So that a plan that was made in Python can be verified on the command line."""
    found = to_dict(as_student(problems.linear))
    assert found["factory"] == "problems:linear"
    assert from_dict(found).factory is problems.linear
    assert "factory" not in to_dict(as_student(lambda input_shape, n_outputs: None))
