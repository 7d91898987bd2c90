"""IResNet: insightface's and AdaFace's names and shapes, patches, the opt-in identity embedding, what is refused."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from facekit.catalog import current_registry
from facekit.encoders.iresnet import IResNetEncoder
from facekit.encoders.iresnet_network import IResNetSettings, depth_of, insightface_names
from facekit.errors import CheckpointError, ConfigurationError, InvalidSpecError
from facekit.spec import PartSpec

BLOCKS = {18: (2, 2, 2, 2), 50: (3, 4, 14, 3), 100: (3, 13, 30, 3)}
WIDTH = 4


def norm(name, width, affine=True):
    shapes = {f"{name}.running_mean": (width,), f"{name}.running_var": (width,), f"{name}.num_batches_tracked": ()}
    return shapes | ({f"{name}.weight": (width,), f"{name}.bias": (width,)} if affine else {})


def insightface_shapes(depth, width=64):
    """Names and shapes of a state dict of insightface's arcface_torch, written down independently of the package."""
    shapes = {"conv1.weight": (width, 3, 3, 3), "prelu.weight": (width,)} | norm("bn1", width)
    incoming = width
    for stage, blocks in enumerate(BLOCKS[depth]):
        outgoing = width * (1, 2, 4, 8)[stage]
        for block in range(blocks):
            at = f"layer{stage + 1}.{block}"
            shapes |= {
                f"{at}.conv1.weight": (outgoing, incoming, 3, 3),
                f"{at}.conv2.weight": (outgoing, outgoing, 3, 3),
            }
            shapes |= {f"{at}.prelu.weight": (outgoing,)}
            shapes |= norm(f"{at}.bn1", incoming) | norm(f"{at}.bn2", outgoing) | norm(f"{at}.bn3", outgoing)
            if block == 0:
                shapes |= {f"{at}.downsample.0.weight": (outgoing, incoming, 1, 1)}
                shapes |= norm(f"{at}.downsample.1", outgoing)
            incoming = outgoing
    shapes |= norm("bn2", incoming) | {"fc.weight": (incoming, incoming * 49), "fc.bias": (incoming,)}
    return shapes | norm("features", incoming)


class AdaFaceUnit(nn.Module):
    """AdaFace's block, as its paper's code describes it: a sequence, and a shortcut that may be a pooling."""

    def __init__(self, incoming, outgoing, stride):
        super().__init__()
        self.shortcut_layer = nn.MaxPool2d(1, stride)
        if incoming != outgoing:
            shortcut = nn.Conv2d(incoming, outgoing, 1, stride, bias=False)
            self.shortcut_layer = nn.Sequential(shortcut, nn.BatchNorm2d(outgoing))
        self.res_layer = nn.Sequential(
            nn.BatchNorm2d(incoming),
            nn.Conv2d(incoming, outgoing, 3, 1, 1, bias=False),
            nn.BatchNorm2d(outgoing),
            nn.PReLU(outgoing),
            nn.Conv2d(outgoing, outgoing, 3, stride, 1, bias=False),
            nn.BatchNorm2d(outgoing),
        )

    def forward(self, features):
        return self.res_layer(features) + self.shortcut_layer(features)


class AdaFaceNetwork(nn.Module):
    """AdaFace's whole network under its own names, for comparison."""

    def __init__(self, depth, width):
        super().__init__()
        self.input_layer = nn.Sequential(
            nn.Conv2d(3, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width), nn.PReLU(width)
        )
        units, incoming = [], width
        for stage, blocks in enumerate(BLOCKS[depth]):
            for block in range(blocks):
                units.append(AdaFaceUnit(incoming, width * 2**stage, 2 if block == 0 else 1))
                incoming = width * 2**stage
        self.body = nn.Sequential(*units)
        self.output_layer = nn.Sequential(
            nn.BatchNorm2d(incoming),
            nn.Dropout(0.4),
            nn.Flatten(),
            nn.Linear(incoming * 49, incoming),
            nn.BatchNorm1d(incoming, affine=False),
        )

    def forward(self, frames):
        features = self.body(self.input_layer(frames))
        return self.output_layer[0](features), self.output_layer(features)


def random_weights(shapes, seed=0):
    generator = torch.Generator().manual_seed(seed)
    weights = {name: 0.05 * torch.randn(shape, generator=generator) for name, shape in shapes.items()}
    for name in weights:
        if name.endswith("running_var"):
            weights[name] = weights[name].abs() + 1
        if name.endswith("num_batches_tracked"):
            weights[name] = torch.tensor(7)
    return weights


@pytest.fixture
def arcface(tmp_path):
    path = tmp_path / "backbone.pth"
    weights = random_weights(insightface_shapes(18, WIDTH))
    torch.save(weights, path)
    return weights, str(path)


def statistics_of(network, seed=0):
    """Draw the statistics and scales of all norms, so that none is at its default."""
    generator = torch.Generator().manual_seed(seed)
    for name, value in network.state_dict().items():
        if name.endswith("running_var"):
            value.copy_(torch.rand(value.shape, generator=generator) + 0.5)
        elif value.ndim == 1:
            value.copy_(torch.rand(value.shape, generator=generator))
    return network


@pytest.mark.parametrize("depth", [50, 100])
def test_names_and_shapes_are_those_of_insightface(depth):
    with torch.device("meta"):
        encoder = IResNetEncoder(IResNetSettings(depth), identity=True)
    found = {name: tuple(value.shape) for name, value in encoder.network.state_dict().items()}
    assert found == insightface_shapes(depth)
    assert (encoder.grid, encoder.hidden_size, encoder.image_size) == ((7, 7), 512, 112)
    assert depth_of(found, "names") == depth


@pytest.mark.parametrize("depth", [50, 100])
def test_adafaces_names_and_shapes_are_accounted_for(depth):
    with torch.device("meta"):
        theirs = AdaFaceNetwork(depth, 64).state_dict()
        ours = IResNetEncoder(IResNetSettings(depth, adaface=True), identity=True).network.state_dict()
    named, adaface = insightface_names({f"model.{name}": value for name, value in theirs.items()} | {"head.kernel": 0})
    assert adaface
    assert {k: v.shape for k, v in named.items()} == {k: v.shape for k, v in ours.items()}


def test_the_full_width_loads_from_a_file(tmp_path):
    shapes = insightface_shapes(50)
    torch.save({name: torch.zeros(()).expand(shape) for name, shape in shapes.items()}, tmp_path / "r50.pth")
    encoder = IResNetEncoder.from_spec(str(tmp_path / "r50.pth"), layer=3)
    assert (encoder.settings.depth, encoder.hidden_size, encoder.grid) == (50, 256, (14, 14))
    assert encoder.network.layer3[13].conv2.weight.count_nonzero().item() == 0


def test_patches_and_embedding_are_what_the_layers_compute_one_by_one(arcface):
    weights, path = arcface
    encoder = IResNetEncoder.from_spec(path, identity=True).eval()
    frames = torch.randn(2, 3, 112, 112)

    def apply_norm(features, name):
        parts = [weights[f"{name}.{part}"] for part in ("running_mean", "running_var", "weight", "bias")]
        return F.batch_norm(features, *parts)

    features = F.conv2d(frames, weights["conv1.weight"], padding=1)
    features = F.prelu(apply_norm(features, "bn1"), weights["prelu.weight"])
    for stage in (1, 2, 3, 4):
        for block in (0, 1):
            at, stride = f"layer{stage}.{block}", 2 - block
            branch = F.conv2d(apply_norm(features, f"{at}.bn1"), weights[f"{at}.conv1.weight"], padding=1)
            branch = F.prelu(apply_norm(branch, f"{at}.bn2"), weights[f"{at}.prelu.weight"])
            branch = apply_norm(F.conv2d(branch, weights[f"{at}.conv2.weight"], stride=stride, padding=1), f"{at}.bn3")
            if block == 0:
                features = F.conv2d(features, weights[f"{at}.downsample.0.weight"], stride=2)
                features = apply_norm(features, f"{at}.downsample.1")
            features = features + branch
    features = apply_norm(features, "bn2")
    embedding = apply_norm(F.linear(features.flatten(1), weights["fc.weight"], weights["fc.bias"]), "features")
    with torch.no_grad():
        tokens = encoder(frames[:, None])[:, 0]
    torch.testing.assert_close(tokens[:, 1:], features.flatten(2).mT, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(tokens[:, 0], embedding, atol=1e-5, rtol=1e-5)


def test_adaface_weights_give_adafaces_outputs_with_blue_first(tmp_path):
    torch.manual_seed(0)
    theirs = statistics_of(AdaFaceNetwork(18, WIDTH)).eval()
    saved = {f"model.{name}": value for name, value in theirs.state_dict().items()} | {"head.kernel": torch.zeros(8, 9)}
    torch.save({"epoch": 25, "state_dict": saved}, tmp_path / "adaface.ckpt")
    encoder = IResNetEncoder.from_spec(str(tmp_path / "adaface.ckpt"), identity=True).eval()
    frames = torch.randn(2, 3, 112, 112)
    with torch.no_grad():
        features, embedding = theirs(frames[:, [2, 1, 0]])
        tokens = encoder(frames[:, None])[:, 0]
    assert encoder.settings.adaface
    torch.testing.assert_close(tokens[:, 0], embedding, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(tokens[:, 1:], features.flatten(2).mT, atol=1e-5, rtol=1e-4)


def test_the_embedding_that_identifies_people_is_left_out_unless_asked_for(arcface):
    _, path = arcface
    encoder, with_identity = IResNetEncoder.from_spec(path), IResNetEncoder.from_spec(path, identity=True)
    assert (encoder.num_prefix_tokens, with_identity.num_prefix_tokens) == (0, 1)
    assert not any(name.startswith(("network.fc", "network.features")) for name in encoder.state_dict())
    frames = torch.randn(1, 1, 3, 112, 112)
    with torch.no_grad():
        assert torch.equal(encoder.eval()(frames), with_identity.eval()(frames)[:, :, 1:])


@pytest.mark.parametrize("identity", [False, True])
@pytest.mark.parametrize("adaface", [False, True])
def test_it_keeps_the_interface(identity, adaface, checks):
    torch.manual_seed(0)
    encoder = IResNetEncoder(IResNetSettings(18, WIDTH, adaface), identity=identity)
    assert (encoder.hidden_size, encoder.grid) == (8 * WIDTH, (7, 7))
    checks.interface(encoder)
    checks.independent_frames(encoder)
    checks.round_trip(encoder)
    checks.row_major(encoder, smooth=True)
    checks.bfloat16(encoder)


@pytest.mark.parametrize(("layer", "side", "width"), [(1, 56, 1), (2, 28, 2), (-2, 14, 4), (-1, 7, 8)])
def test_a_layer_is_a_stage(layer, side, width, arcface):
    encoder = IResNetEncoder.from_spec(arcface[1], layer=layer)
    assert (encoder.grid, encoder.hidden_size) == ((side, side), width * WIDTH)
    assert encoder(torch.randn(1, 1, 3, 112, 112)).shape == (1, 1, side * side, width * WIDTH)


def test_larger_frames_give_larger_grids():
    encoder = IResNetEncoder.from_spec(depth=18, width=4, image_size=160)
    assert encoder(torch.randn(1, 2, 3, 160, 160)).shape == (1, 2, 100, 32)


def test_untrained_features_of_the_deepest_network_stay_finite():
    encoder = IResNetEncoder.from_spec(depth=100, width=4, image_size=32)
    assert encoder(torch.randn(1, 1, 3, 32, 32)).abs().max().item() < 1e3


def test_training_moves_weights_but_never_the_statistics(arcface):
    encoder = IResNetEncoder.from_spec(arcface[1], identity=True)
    frames = torch.randn(2, 1, 3, 112, 112)
    untouched = {name: value.clone() for name, value in encoder.named_buffers()}
    fresh, trained = encoder(frames), encoder.train()(frames)
    assert torch.equal(fresh, trained)
    torch.testing.assert_close(trained[1:], encoder(frames[1:]), atol=1e-5, rtol=1e-4)
    trained.square().sum().backward()
    assert [name for name, weight in encoder.named_parameters() if weight.grad is None] == []
    assert all(torch.equal(value, untouched[name]) for name, value in encoder.named_buffers())


def test_missing_and_unexpected_names_are_listed(arcface, tmp_path):
    weights, _ = arcface
    del weights["layer2.1.bn3.bias"], weights["bn2.running_var"]
    weights["layer1.0.se.fc1.weight"] = torch.zeros(2)
    torch.save(weights, tmp_path / "faulty.pth")
    with pytest.raises(CheckpointError) as caught:
        IResNetEncoder.from_spec(str(tmp_path / "faulty.pth"))
    assert "2 missing, first 'bn2.running_var', 'layer2.1.bn3.bias'" in str(caught.value)
    assert "1 left over, first 'layer1.0.se.fc1.weight'" in str(caught.value)


def test_a_network_with_other_blocks_is_named(tmp_path):
    torch.save({"layer1.0.conv1.weight": torch.zeros(2)}, tmp_path / "short.pth")
    torch.save(
        {"input_layer.0.weight": torch.zeros(2), "body.0.res_layer.0.bias": torch.zeros(2)}, tmp_path / "ada.pth"
    )
    torch.save({"blocks.0.weight": torch.zeros(2)}, tmp_path / "vit.pth")
    for name, counts in (("short.pth", r"\(1, 0, 0, 0\)"), ("ada.pth", r"\(1, 0, 0, 0\)"), ("vit.pth", "'blocks.0")):
        with pytest.raises(CheckpointError, match=f"no IResNet of depth 18, 34, 50, 100.*{counts}"):
            IResNetEncoder.from_spec(str(tmp_path / name))


def test_pickled_code_is_refused_and_not_run(tmp_path):
    witness = tmp_path / "ran"

    class Harmful:
        def __reduce__(self):
            return (open, (str(witness), "w"))

    torch.save(
        {"state_dict": {"model.input_layer.0.weight": torch.zeros(2)}, "callbacks": Harmful()}, tmp_path / "a.ckpt"
    )
    with pytest.raises(CheckpointError, match="pickled code, which is refused"):
        IResNetEncoder.from_spec(str(tmp_path / "a.ckpt"))
    assert not witness.exists()


def test_the_transform_is_arcfaces():
    transform = IResNetEncoder.from_spec(depth=18, width=4).transform
    assert (transform.image_size, transform.mean, transform.std) == (112, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"layer": "5"}, InvalidSpecError, "layers 1 to 4.*no layer 5"),
        ({"depth": "42"}, ConfigurationError, "depths 18, 34, 50, 100, not 42"),
        ({"identity": "maybe"}, InvalidSpecError, "true or false"),
        ({"identity": "true", "layer": "3"}, ConfigurationError, "from the last stage"),
        ({"identity": "true", "image_size": "128"}, ConfigurationError, "made from 112 pixels, not 128"),
        ({"image_size": "100"}, ConfigurationError, "multiple of 16 for layer=-1, not 100"),
        ({"embedding": "true"}, InvalidSpecError, "no option 'embedding'"),
    ],
)
def test_what_cannot_be_used_is_named(options, error, message):
    with pytest.raises(error, match=message):
        current_registry().build("encoder", PartSpec("iresnet", None, options))


def test_sizes_come_from_the_weights(arcface):
    with pytest.raises(InvalidSpecError, match="reads depth from the weights"):
        IResNetEncoder.from_spec(arcface[1], depth=18)
