import torch

from epam_model.train.weight_average import WeightAverage
from tests.model.tiny import TinyRecogniser


def moved(model: TinyRecogniser) -> None:
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(torch.randn_like(weight))
        for part in model.parts.values():
            part.norm.running_mean.add_(1.0)
            part.norm.num_batches_tracked.add_(1)


def test_it_is_the_mean_written_out():
    """The weights after the first step, then 0.9 of the mean and 0.1 of the weights after each; statistics alike."""
    torch.manual_seed(0)
    model = TinyRecogniser()
    average = WeightAverage(model, 0.9)
    expected: dict[str, torch.Tensor] = {}
    for _ in range(4):
        moved(model)
        average.update(model)
        for name, value in model.state_dict().items():
            value = value.double()
            expected[name] = 0.9 * expected[name] + 0.1 * value if name in expected else value.clone()
    for name, value in average.state().items():
        if not name.endswith("num_batches_tracked"):
            torch.testing.assert_close(value, expected[name].to(value.dtype), msg=name)


def test_it_goes_on_from_its_state():
    torch.manual_seed(0)
    model = TinyRecogniser()
    whole, cut = WeightAverage(model, 0.9), WeightAverage(model, 0.9)
    moved(model)
    whole.update(model)
    cut.load({name: value.clone() for name, value in whole.state().items()}, "x.pt")
    for _ in range(2):
        moved(model)
        whole.update(model)
        cut.update(model)
    for name, value in whole.state().items():
        assert torch.equal(value, cut.state()[name]), name
