"""Any shot on a GPU: maps and textures stay in its memory, and one kernel draws a frame.

What a frame needs is uploaded when it is first drawn, and given up for others only when the GPU's memory is half full
of it. A frame with a painting of its own, which is rare, is drawn by the reference, on the GPU as well.
"""

import threading
from collections import OrderedDict
from collections.abc import Sequence
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import Tensor

from layerloom.compose.shot import Instance, Shot, neighbours
from layerloom.data.project import Layer, Project
from layerloom.render import reference
from layerloom.render.backend import Backend
from layerloom.render.cuda import kernel
from layerloom.render.pyramid import Pyramid
from layerloom.render.scene import Inputs, Scene

SHARE_OF_MEMORY = 0.5
KEPT_PICTURES = 16


class CudaBackend(Backend):
    """Draws shots of one project. May be called from several threads at once; the GPU draws one after the other."""

    def __init__(self, project: Project, device: torch.device) -> None:
        self._device = device
        self._images: WeakKeyDictionary[Pyramid, dict[torch.dtype, _Image]] = WeakKeyDictionary()
        self._maps = _Maps(project, device)
        self._pictures = _Pictures(device)
        self._nothing = torch.zeros(1, device=device)
        self._turn = threading.Lock()

    def draw(self, scene: Scene, shot: Shot, inputs: Inputs, alone: bool = False) -> np.ndarray:
        """The frame, h w 3, uint8 or uint16. alone: does not matter, a frame has the whole GPU."""
        with self._turn:
            picture = self.draw_there(scene, shot, inputs)
            # Into pinned memory, so that the GPU goes on with the next frame meanwhile.
            received = picture.to("cpu", non_blocking=True)
            arrived = None
            if self._device.type == "cuda":
                arrived = torch.cuda.Event()
                arrived.record()
        if arrived is not None:
            arrived.synchronize()
        return received.numpy()

    def draw_there(self, scene: Scene, shot: Shot, inputs: Inputs) -> Tensor:
        """The frame on the GPU, h w 3. It is drawn when the stream comes to it."""
        *painted, edit_pass = scene.passes(shot)
        if painted:
            return torch.from_numpy(reference.render_shot(scene, shot, inputs, self._device))
        rows: list[list[float]] = []
        for instance, change in zip(shot.instances, edit_pass.changes, strict=True):
            images = (None, None) if change is None else (change.main, change.opacities)
            rows.append(self._instance_row(scene, instance, inputs, (scene.textures[instance.layer], *images)))
        has_opacities = any(change is not None and change.opacities is not None for change in edit_pass.changes)
        table = torch.from_numpy(np.array(rows, np.float64)).to(self._device, non_blocking=True)
        output = torch.empty(
            shot.size[1], shot.size[0], 3, dtype=getattr(torch, f"uint{inputs.bit_depth}"), device=self._device
        )
        kernel.draw_frame(
            table,
            self._nothing if scene.backdrop is None else self._pictures.uploaded(scene.backdrop.fit(shot.size)),
            None if inputs.source is None else self._pictures.uploaded(inputs.source),
            output,
            has_details=bool(inputs.details),
            has_opacities=has_opacities,
            is_half=_value(inputs) == torch.float16,
            as_solved=inputs.as_solved,
        )
        return output

    def _instance_row(
        self, scene: Scene, instance: Instance, inputs: Inputs, images: Sequence[Pyramid | None]
    ) -> list[float]:
        """As `kernel` names its entries. images: the texture, the change and its opacities."""
        layer, value = instance.layer, _value(inputs)
        first, second, share = neighbours(instance.time)
        is_last = layer == len(scene.project.layers) - 1
        flags = (is_last, layer in scene.hidden, layer in scene.replaced, is_last and scene.backdrop is not None)
        return [
            *instance.to_source.ravel().tolist(),
            *(self._maps.address(scene.project, layer, frame, inputs) for frame in (first, second)),
            share,
            *(float(flag) for flag in flags),
            *(0.0 if image is None else float(self._uploaded(image, value).address) for image in images),
            0.0,
        ]

    def _uploaded(self, image: Pyramid, value: torch.dtype) -> "_Image":
        """An image on the GPU, for as long as it is there at all."""
        kinds = self._images.setdefault(image, {})
        if value not in kinds:
            kinds[value] = _Image(image, value, self._device)
        return kinds[value]


class _Pictures:
    """Source pictures and backdrops on the GPU: the few used last."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._kept: list[tuple[np.ndarray, Tensor]] = []

    def uploaded(self, picture: np.ndarray) -> Tensor:
        """A picture that does not change."""
        found = next((entry for entry in self._kept if entry[0] is picture), None)
        others = [entry for entry in self._kept if entry[0] is not picture]
        self._kept = [*others[1 - KEPT_PICTURES :], found or (picture, torch.from_numpy(picture).to(self._device))]
        return self._kept[-1][1]


class _Image:
    """A pyramid on the GPU, and the address of its table."""

    def __init__(self, pyramid: Pyramid, dtype: torch.dtype, device: torch.device) -> None:
        levels = pyramid.levels
        # One copy to the GPU for all levels.
        texels = np.concatenate([level.texels.reshape(-1, 4) for level in levels])
        self._texels = torch.from_numpy(texels).to(device).to(dtype)
        rows: list[list[float]] = [[len(levels), *[0] * (kernel.IMAGE_ENTRIES.value - 1)]]
        address = self._texels.data_ptr()
        for level in levels:
            height, width = level.texels.shape[:2]
            rows.append([address, width, height, level.left, level.top, 1 / level.side])
            address += width * height * 4 * self._texels.element_size()
        self._table = torch.tensor(rows, dtype=torch.float64).to(device)
        self.address = self._table.data_ptr()


class _Maps:
    """Maps of layers in frames on the GPU, the ones used last, as many as its memory has room for."""

    def __init__(self, project: Project, device: torch.device) -> None:
        self._project, self._device = project, device
        self._kept: OrderedDict[tuple[Layer, int], list[Tensor]] = OrderedDict()
        free = torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else 2**30
        self._room, self._used = int(SHARE_OF_MEMORY * free), 0
        self._carried: list[tuple[np.ndarray, Tensor, Tensor]] = []

    def address(self, project: Project, layer: int, frame: int, inputs: Inputs) -> float:
        """Of the row of a layer's maps in a frame. project: the back end's, in any light."""
        # A layer in other light is another layer.
        key = project.layers[layer], frame
        if key not in self._kept:
            self._upload(project.layers[layer], layer, frame, inputs)
        self._kept.move_to_end(key)
        row = self._kept[key][-1]
        return float(row.data_ptr() if not inputs.details else self._with_detail(row, inputs.details[layer, frame]))

    def _upload(self, stored: Layer, layer: int, frame: int, inputs: Inputs) -> None:
        width, height = self._project.source.size
        affine = stored.uv_affine[frame]
        levels, (low, step) = stored.stored_uv_offset(frame)
        light = stored.lighting_grid(frame)
        light = np.concatenate([light, np.zeros_like(light[..., :1])], -1).astype(np.float16)
        nodes = np.ascontiguousarray(levels).view(np.int32)
        alpha = inputs.own_alphas(frame)[layer] if stored.kind == "object" else np.zeros((1, 1), np.uint16)
        tensors = [torch.from_numpy(np.ascontiguousarray(grid)).to(self._device) for grid in (nodes, light, alpha)]
        (columns, rows), (light_columns, light_rows) = nodes.shape[1::-1], light.shape[1::-1]
        row = [*affine.ravel(), *np.linalg.inv(affine[:, :2]).ravel(), *low, *step]
        row += [tensors[0].data_ptr(), columns, rows, (columns - 1) / width, (rows - 1) / height]
        per_texel = (light_columns - 1) / stored.canvas[0], (light_rows - 1) / stored.canvas[1]
        row += [tensors[1].data_ptr(), light_columns, light_rows, *per_texel]
        row += [tensors[2].data_ptr(), *alpha.shape[::-1], alpha.shape[1] / width, alpha.shape[0] / height]
        row += [0] * (kernel.MAPS_ENTRIES.value - len(row))
        tensors.append(torch.tensor(row, dtype=torch.float64).to(self._device))
        self._kept[stored, frame] = tensors
        self._used += _bytes(tensors)
        while self._used > self._room and len(self._kept) > 2 * len(self._project.layers):
            self._used -= _bytes(self._kept.popitem(last=False)[1])

    def _with_detail(self, row: Tensor, detail: np.ndarray) -> int:
        """Address of the row with what is carried along."""
        for kept, _, whole in self._carried:
            if kept is detail:
                return whole.data_ptr()
        values = torch.from_numpy(detail).to(self._device)
        whole = row.clone()
        entries = torch.tensor([values.data_ptr(), detail.shape[1], detail.shape[0], 1, 1], dtype=torch.float64)
        whole[kernel.DETAILS.value : kernel.DETAILS.value + 5] = entries.to(self._device)
        self._carried = [*self._carried[1 - 4 * len(self._project.layers) :], (detail, values, whole)]
        return whole.data_ptr()


def _value(inputs: Inputs) -> torch.dtype:
    """What images hold: half has eleven bits, enough for 8-bit pixels."""
    return torch.float16 if inputs.bit_depth == 8 else torch.float32


def _bytes(tensors: Sequence[Tensor]) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)
