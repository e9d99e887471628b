"""Adam with a rate per kind of parameter: PyTorch's own, or one kernel over arrays that hold everything."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from layerloom.model.encoding import EncodedNetwork, Lattice
from layerloom.model.field import Layer
from layerloom.ops.hash_encode.layout import GridLayout
from layerloom.train.settings import LearningRates

BETAS = (0.9, 0.99)
EPSILON = 1e-15


@dataclass(frozen=True)
class Group:
    """Parameters that belong together: a lattice, a hash table, a network, a layer's affine parts.

    `level_factors`: of a lattice, how many entries each level has and what to multiply its rate by.
    """

    rate: float
    parameters: tuple[nn.Parameter, ...]
    level_factors: tuple[tuple[int, float], ...] = ()

    def rates(self, length: int) -> Float[Tensor, " length"]:
        """Of each single parameter, and of padding up to `length`; where the parameters are."""
        rates = torch.full((length,), self.rate, device=self.parameters[0].device)
        begin = 0
        for entries, factor in self.level_factors:
            rates[begin : begin + entries] *= factor
            begin += entries
        return rates


def groups(field: nn.Module, rates: LearningRates) -> Iterator[Group]:
    """All of a field's parameters, with their rates at the start."""
    for name, module in field.named_modules():
        if isinstance(module, Layer):
            yield Group(rates.affine_texels, (module.affine,))
        elif isinstance(module, Lattice):
            rate = rates.log_lighting if name.endswith("log_lighting") else rates.mapping_texels
            yield Group(rate, (module.table,), _level_factors(module.layout, rates.finer_levels))
        elif isinstance(module, EncodedNetwork):
            yield Group(rates.grids, (module.table,))
            yield Group(rates.networks, (*module.weights, *module.biases))


def _level_factors(layout: GridLayout, power: float) -> tuple[tuple[int, float], ...]:
    """Per level its numbers, and (its cell size over the coarsest)^power."""
    sizes = [layout.resolutions[0][0] / level[0] for level in layout.resolutions]
    return tuple((n * layout.features, size**power) for n, size in zip(layout.entries, sizes, strict=True))


class PlainAdam:
    """PyTorch's Adam."""

    def __init__(self, field: nn.Module, rates: LearningRates) -> None:
        self._parameters = list(field.parameters())
        self._groups = list(groups(field, rates))
        on_gpu = self._parameters[0].is_cuda
        # On CUDA the rates are tensors, so that a recorded step reads them.
        settings = [
            {
                "params": list(group.parameters),
                "lr": self._parameters[0].new_tensor(group.rate) if on_gpu else group.rate,
            }
            for group in self._groups
        ]
        self._adam = torch.optim.Adam(settings, betas=BETAS, eps=EPSILON, fused=True, capturable=on_gpu)
        # Rates within one tensor are beyond PyTorch's Adam: such a tensor is moved back by its share afterwards.
        self._shares = [
            (group.parameters[0], (group.rates(group.parameters[0].numel()) / group.rate).view_as(group.parameters[0]))
            for group in self._groups
            if group.level_factors
        ]

    def step(self) -> None:
        before = [table.detach().clone() for table, _ in self._shares]
        self._adam.step()
        with torch.no_grad():
            for (table, share), old in zip(self._shares, before, strict=True):
                table.copy_(torch.lerp(old, table, share))

    def scale_rates(self, factor: float) -> None:
        """Set the rates to `factor` times those at the start."""
        for settings, group in zip(self._adam.param_groups, self._groups, strict=True):
            if isinstance(settings["lr"], Tensor):
                settings["lr"].fill_(group.rate * factor)
            else:
                settings["lr"] = group.rate * factor

    def state(self) -> dict[str, Tensor]:
        """Moments and step counts, by the parameter's number."""
        states = ((index, self._adam.state[parameter]) for index, parameter in enumerate(self._parameters))
        return {f"{index}.{name}": value for index, state in states for name, value in state.items()}

    def load(self, state: dict[str, Tensor]) -> None:
        """Set to what `state` gave; nothing is shared with it."""
        self._adam.state.clear()
        for name, value in state.items():
            index, key = name.split(".")
            self._adam.state[self._parameters[int(index)]][key] = value.clone()


class FlatAdam:
    """The same in one kernel: parameters, gradients and moments become parts of one array each.

    Groups begin at whole blocks of the kernel; `grads` holds all gradients, those of a network side by side.
    """

    def __init__(self, field: nn.Module, rates: LearningRates) -> None:
        from layerloom.train.fused.adam import BLOCK

        self._parameters = list(field.parameters())
        every = list(groups(field, rates))
        lengths = [-(-sum(parameter.numel() for parameter in group.parameters) // BLOCK) * BLOCK for group in every]
        like = self._parameters[0]
        self._values, self.grads, self._first, self._second = (like.new_zeros(sum(lengths)) for _ in range(4))
        self._places: dict[nn.Parameter, slice] = {}
        begin = 0
        for group, length in zip(every, lengths, strict=True):
            self._take_in(group, begin)
            begin += length
        self._rates = torch.cat([group.rates(length) for group, length in zip(every, lengths, strict=True)])
        self._factor, self._count = like.new_ones(()), like.new_zeros(())

    def step(self) -> None:
        from layerloom.train.fused.adam import adam

        self._count += 1
        moments = self._first, self._second
        adam(self._values, self.grads, *moments, self._rates, self._factor, self._count, BETAS, EPSILON)

    def scale_rates(self, factor: float) -> None:
        """Set the rates to `factor` times those at the start."""
        self._factor.fill_(factor)

    def state(self) -> dict[str, Tensor]:
        """Moments and step counts, by the parameter's number."""
        tensors: dict[str, Tensor] = {}
        for index, parameter in enumerate(self._parameters):
            place = self._places[parameter]
            tensors[f"{index}.step"] = self._count
            tensors[f"{index}.exp_avg"] = self._first[place].view_as(parameter)
            tensors[f"{index}.exp_avg_sq"] = self._second[place].view_as(parameter)
        return tensors

    def load(self, state: dict[str, Tensor]) -> None:
        for name, target in self.state().items():
            target.copy_(state[name])

    def _take_in(self, group: Group, begin: int) -> None:
        with torch.no_grad():
            for parameter in group.parameters:
                place = slice(begin, begin + parameter.numel())
                begin = place.stop
                self._places[parameter] = place
                self._values[place] = parameter.flatten()
                parameter.data = self._values[place].view_as(parameter)
                parameter.grad = self.grads[place].view_as(parameter)
