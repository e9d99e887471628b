"""What training can be told. One dial for people; the rest are its consequences."""

from dataclasses import dataclass, field

from layerloom.core.quality import Quality
from layerloom.model.field import FieldSettings

TILE = 8
"""Pixels are drawn as tiles of TILE × TILE, so colour gradients and the mapping's Jacobian come from neighbours."""


@dataclass(frozen=True)
class LearningRates:
    """Adam's rates at the start; all fall to `final_share` of these from `decay_from` of the steps on (see `Schedule`).

    `mapping_texels` and `affine_texels` are steps in texels; `log_lighting` in log light. These two are the rates of a
    lattice's coarsest level; a finer one's is multiplied by (its cell size over the coarsest) ** `finer_levels`: few
    pixels say where a small cell should go, and at the full rate they make it tremble.
    """

    grids: float = 2e-2
    networks: float = 2e-3
    mapping_texels: float = 1e-1
    affine_texels: float = 1e-2
    log_lighting: float = 8e-3
    finer_levels: float = 0.5
    final_share: float = 0.03
    decay_from: float = 0.4


@dataclass(frozen=True)
class TrainSettings:
    """How long and how to train. `tiles` of 8 × 8 pixels a step; `object_share` of them where objects can be.

    `steps` at most: fewer where doubling them gains less than `patience_db` (0: never).
    """

    steps: int
    tiles: int
    seed: int = 0
    object_share: float = 0.5
    patience_db: float = 0.0
    rates: LearningRates = LearningRates()
    field: FieldSettings = field(default_factory=FieldSettings)


def settings_for(quality: Quality, device: str, seed: int = 0) -> TrainSettings:
    """The dial. A CPU takes smaller steps and smaller grids, so that a laptop gets a result in minutes."""
    patience_db = {"draft": 1.0, "standard": 0.5, "fine": 0.2}[quality]
    if device == "cpu":
        steps = {"draft": 500, "standard": 2500, "fine": 10000}[quality]
        small = FieldSettings(
            mapping_cells_texels=(200.0, 12.0),
            mapping_cells_frames=(16.0, 2.0),
            mapping_levels=4,
            texture_levels=7,
            texture_entries=2**18,
            texture_hidden=32,
            texture_hidden_layers=1,
            lighting_cells_per_canvas=(4.0, 24.0),
            lighting_cells_frames=(16.0, 3.0),
            lighting_levels=4,
            alpha_levels=5,
            alpha_entries=2**15,
            alpha_hidden=16,
        )
        # Cells are larger here, and steps too few for low rates.
        rates = LearningRates(
            networks=5e-3,
            mapping_texels=6e-2,
            log_lighting=4e-3,
            finer_levels=0.0,
            final_share=0.01,
            decay_from=0.3,
        )
        return TrainSettings(steps, 128, seed, patience_db=patience_db, rates=rates, field=small)
    steps = {"draft": 1500, "standard": 4500, "fine": 30000}[quality]
    return TrainSettings(steps, 1024, seed, patience_db=patience_db)
