"""A frame laid beside the layers' picture of it: how far each layer has shifted is known."""

import numpy as np
import torch
from torch import Tensor

from layerloom.bake.registration import layer_shifts
from layerloom.synthetic.textures import BACKGROUND_PALETTE, make_texture

WIDTH, HEIGHT = 96, 64
EDGE = 48
"""Column from which on the first layer covers the second."""


def picture(shift_x: float = 0.0, shift_y: float = 0.0) -> Tensor:
    """A pattern without an end, moved by (x, y) pixels."""
    y, x = torch.meshgrid(torch.arange(HEIGHT) - float(shift_y), torch.arange(WIDTH) - float(shift_x), indexing="ij")
    waves = torch.sin(0.7 * x + 0.2 * y) + torch.sin(0.5 * y - 0.3 * x + 1) + torch.sin(0.35 * x + 0.6 * y + 2)
    return (0.5 + waves / 8).expand(3, -1, -1)


def alone() -> Tensor:
    return torch.ones(1, HEIGHT, WIDTH)


def middle(shift: Tensor) -> Tensor:
    return shift[12:-12, 12:-12]


def test_a_shift_is_found_to_a_small_part_of_a_pixel() -> None:
    (shift,) = layer_shifts(picture(0.6, -0.4), picture(), alone(), (WIDTH, HEIGHT))
    torch.testing.assert_close(middle(shift), torch.tensor([0.6, -0.4]).expand_as(middle(shift)), atol=0.05, rtol=0)


def test_light_moves_nothing() -> None:
    shade = torch.linspace(0.6, 1.1, WIDTH)
    (shift,) = layer_shifts(picture() * shade, picture(), alone(), (WIDTH, HEIGHT))
    assert middle(shift).abs().max() < 0.05


def test_what_the_layers_do_not_know_moves_nothing() -> None:
    """The border of a shadow over an even wall."""
    even = torch.full((3, HEIGHT, WIDTH), 0.5)
    shaded = even.clone()
    shaded[:, :, :40] *= 0.7
    (shift,) = layer_shifts(shaded, even, alone(), (WIDTH, HEIGHT))
    assert shift.abs().max() < 1e-3


def test_each_layer_has_its_own_shift() -> None:
    front = torch.zeros(HEIGHT, WIDTH)
    front[:, EDGE:] = 1
    alpha = torch.stack([front, 1 - front])
    seen = torch.where(front > 0, picture(0.5, 0), picture(-0.5, 0))
    shifts = layer_shifts(seen, picture(), alpha, (WIDTH, HEIGHT))
    for shift, columns, truth in zip(shifts, (slice(EDGE + 16, -12), slice(12, EDGE - 16)), (0.5, -0.5), strict=True):
        assert (shift[12:-12, columns, 0] - truth).abs().max() < 0.08
    # Continued over the outline, each keeps its sign; far off it is nothing.
    assert shifts[0, 12:-12, EDGE, 0].median() > 0.3 and shifts[0, :, 4].abs().max() < 0.05


def test_shifts_found_at_training_size_are_in_pixels_of_the_frame() -> None:
    texture = make_texture(np.random.default_rng(0), (240, 160), BACKGROUND_PALETTE, 0.9)
    large = torch.from_numpy(texture).permute(2, 0, 1).float()
    seen, explained = large[:, 10:138, 10:202], large[:, 10:138, 12:204]
    (shift,) = layer_shifts(seen, explained, torch.ones(1, 128, 192), (WIDTH, HEIGHT))
    inside = middle(shift)
    assert (inside[..., 0].median() - 2).abs() < 0.1 and inside[..., 1].median().abs() < 0.1
