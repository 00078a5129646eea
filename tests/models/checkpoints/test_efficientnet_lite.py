import pytest
import timm
import torch

from rsunivlm.models.checkpoints.efficientnet_lite import to_timm


def test_tensors_are_renamed_in_order_and_checked() -> None:
    model = timm.create_model("tf_efficientnet_lite0")
    ours = model.state_dict()
    foreign = {
        f"{index}.{name.rpartition('.')[2]}": tensor for index, (name, tensor) in enumerate(ours.items())
    }
    renamed = to_timm(foreign)
    assert list(renamed) == list(ours)
    assert all(torch.equal(renamed[name], ours[name]) for name in ours)

    with pytest.raises(ValueError, match="has 296 tensors, the file 295"):
        to_timm(dict(list(foreign.items())[1:]))
    swapped = dict(foreign)
    first, second = list(swapped)[:2]
    swapped[first], swapped[second] = swapped[second], swapped[first]
    with pytest.raises(ValueError, match=r"does not fit conv_stem\.weight"):
        to_timm(swapped)
