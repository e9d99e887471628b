"""From compositions to pixels: one meaning, several back ends, one renderer that keeps what it needs."""
