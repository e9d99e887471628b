"""The layered field: (x, y, t) to uv, texture, lighting and alpha of each layer."""
