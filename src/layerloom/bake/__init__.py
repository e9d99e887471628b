"""A trained field to images and grids: maps, textures solved against the source."""
