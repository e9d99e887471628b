/** What a fill takes: texels that hang together with the first and look like it. */

export interface Filled {
  mask: Uint8Array;
  left: number;
  top: number;
  right: number;
  bottom: number;
}

/** colours: RGBA of the canvas, row by row; tolerance: the largest difference of a channel, of 255. Null off the canvas. */
export function fill(colours: Uint8Array, width: number, height: number, x: number, y: number, tolerance: number): Filled | null {
  if (x < 0 || y < 0 || x >= width || y >= height) return null;
  const start = 4 * (y * width + x);
  const [red, green, blue] = [colours[start], colours[start + 1], colours[start + 2]];
  const mask = new Uint8Array(width * height);
  const alike = (at: number) =>
    mask[at] === 0 &&
    Math.abs(colours[4 * at] - red) <= tolerance &&
    Math.abs(colours[4 * at + 1] - green) <= tolerance &&
    Math.abs(colours[4 * at + 2] - blue) <= tolerance;
  const filled: Filled = { mask, left: x, top: y, right: x + 1, bottom: y + 1 };
  const waiting = [y * width + x];
  while (waiting.length) {
    const seed = waiting.pop()!;
    if (!alike(seed)) continue;
    const row = Math.floor(seed / width);
    let first = seed;
    while (first > row * width && alike(first - 1)) first--;
    let last = seed;
    while (last < (row + 1) * width - 1 && alike(last + 1)) last++;
    for (let at = first; at <= last; at++) {
      mask[at] = 255;
      if (row > 0) waiting.push(at - width);
      if (row < height - 1) waiting.push(at + width);
    }
    filled.left = Math.min(filled.left, first - row * width);
    filled.right = Math.max(filled.right, last - row * width + 1);
    filled.top = Math.min(filled.top, row);
    filled.bottom = Math.max(filled.bottom, row + 1);
  }
  return filled;
}
