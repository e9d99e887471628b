/** The maps of a frame: where each pixel lies on each layer's canvas, how lit, how covered. The same as Python's. */

import { halfToNumber, unpack, type ArrayEntry } from "./packet";

interface LayerHead {
  affine: number[];
  low: [number, number];
  step: [number, number];
  offsets: ArrayEntry;
  light: ArrayEntry;
  alpha_size?: [number, number];
  alpha_corner?: [number, number];
  alpha?: ArrayEntry | null;
}

export interface LayerMaps {
  /** Source pixel (x, y, 1) to texel: two rows of three. */
  affine: number[];
  low: [number, number];
  step: [number, number];
  /** Columns and rows of the offset's nodes, which lie on the frame's corners; u and v of each in steps. */
  nodes: { columns: number; rows: number; levels: Uint16Array };
  /** Columns and rows of the light's nodes, which lie on the canvas' corners; RGBA of each in half floats. */
  light: { columns: number; rows: number; halves: Uint16Array };
  /** Own coverage before occlusion, over the whole frame in 8 bits; none for the background. */
  alpha: { width: number; height: number; levels: Uint8Array } | null;
}

export interface FrameMaps {
  frame: number;
  layers: LayerMaps[];
  bytes: number;
}

export function readMaps(data: ArrayBuffer): FrameMaps {
  const { head, array } = unpack<{ frame: number; layers: LayerHead[] }>(data);
  const layers = head.layers.map((layer): LayerMaps => {
    const [rows, columns] = layer.offsets.shape;
    const [lightRows, lightColumns] = layer.light.shape;
    return {
      affine: layer.affine,
      low: layer.low,
      step: layer.step,
      nodes: { columns, rows, levels: array(layer.offsets) as Uint16Array },
      light: { columns: lightColumns, rows: lightRows, halves: array(layer.light) as Uint16Array },
      alpha: layer.alpha_size ? wholeAlpha(layer, array) : null,
    };
  });
  return { frame: head.frame, layers, bytes: data.byteLength };
}

function wholeAlpha(layer: LayerHead, array: (entry: ArrayEntry) => Uint8Array | Uint16Array) {
  const [width, height] = layer.alpha_size!;
  const levels = new Uint8Array(width * height);
  if (layer.alpha) {
    const part = array(layer.alpha) as Uint8Array;
    const [rows, columns] = layer.alpha.shape;
    const [left, top] = layer.alpha_corner!;
    for (let row = 0; row < rows; row++) {
      levels.set(part.subarray(row * columns, (row + 1) * columns), (top + row) * width + left);
    }
  }
  return { width, height, levels };
}

export type Point = [number, number];
/** Row by row: how u and v change with x and y. */
export type Jacobian = [number, number, number, number];

/** The texel under a point of the frame (source pixels), and the map's derivative there. */
export function uvAt(maps: LayerMaps, size: Point, [x, y]: Point): { uv: Point; jacobian: Jacobian } {
  const { columns, rows, levels } = maps.nodes;
  const perX = (columns - 1) / size[0];
  const perY = (rows - 1) / size[1];
  const nodeX = Math.min(Math.max(x * perX, 0), columns - 1);
  const nodeY = Math.min(Math.max(y * perY, 0), rows - 1);
  const column = Math.min(Math.floor(nodeX), columns - 2);
  const row = Math.min(Math.floor(nodeY), rows - 2);
  const fx = nodeX - column;
  const fy = nodeY - row;
  const [a, b, c, d, e, f] = maps.affine;
  const uv: Point = [a * x + b * y + c, d * x + e * y + f];
  const jacobian: Jacobian = [a, b, d, e];
  const insideX = x >= 0 && x <= size[0] ? 1 : 0;
  const insideY = y >= 0 && y <= size[1] ? 1 : 0;
  for (const axis of [0, 1] as const) {
    const at = (r: number, k: number) => maps.low[axis] + maps.step[axis] * levels[2 * (r * columns + k) + axis];
    const topLeft = at(row, column);
    const topRight = at(row, column + 1);
    const bottomLeft = at(row + 1, column);
    const bottomRight = at(row + 1, column + 1);
    const upper = topLeft + fx * (topRight - topLeft);
    const lower = bottomLeft + fx * (bottomRight - bottomLeft);
    uv[axis] += upper + fy * (lower - upper);
    const slopeX = topRight - topLeft + fy * (bottomRight - bottomLeft - topRight + topLeft);
    jacobian[2 * axis] += slopeX * perX * insideX;
    jacobian[2 * axis + 1] += (lower - upper) * perY * insideY;
  }
  return { uv, jacobian };
}

/** Where a texel lies in the frame (source pixels), by Newton steps; null where it is not in it. */
export function xyOf(maps: LayerMaps, size: Point, uv: Point): Point | null {
  const [a, b, c, d, e, f] = maps.affine;
  const determinant = a * e - b * d;
  let x = (e * (uv[0] - c) - b * (uv[1] - f)) / determinant;
  let y = (a * (uv[1] - f) - d * (uv[0] - c)) / determinant;
  for (let step = 0; step < 6; step++) {
    const found = uvAt(maps, size, [x, y]).uv;
    const missU = uv[0] - found[0];
    const missV = uv[1] - found[1];
    x += (e * missU - b * missV) / determinant;
    y += (a * missV - d * missU) / determinant;
  }
  const found = uvAt(maps, size, [x, y]).uv;
  const isFound = Math.hypot(uv[0] - found[0], uv[1] - found[1]) < 0.5;
  return isFound && x >= 0 && y >= 0 && x <= size[0] && y <= size[1] ? [x, y] : null;
}

/** The light on a texel: what its colour is multiplied by. */
export function lightAt(maps: LayerMaps, canvas: Point, uv: Point): [number, number, number] {
  const { columns, rows, halves } = maps.light;
  const x = Math.min(Math.max((uv[0] * (columns - 1)) / canvas[0], 0), columns - 1);
  const y = Math.min(Math.max((uv[1] * (rows - 1)) / canvas[1], 0), rows - 1);
  const column = Math.min(Math.floor(x), columns - 2);
  const row = Math.min(Math.floor(y), rows - 2);
  const mix = (channel: number) => {
    const at = (r: number, k: number) => halfToNumber(halves[4 * (r * columns + k) + channel]);
    const upper = at(row, column) + (x - column) * (at(row, column + 1) - at(row, column));
    const lower = at(row + 1, column) + (x - column) * (at(row + 1, column + 1) - at(row + 1, column));
    return upper + (y - row) * (lower - upper);
  };
  return [mix(0), mix(1), mix(2)];
}

/** Each layer's share of a pixel, front to back; the last layer takes what the others leave. */
export function sharesAt(maps: FrameMaps, size: Point, [x, y]: Point): number[] {
  let left = 1;
  return maps.layers.map((layer) => {
    let own = 1;
    if (layer.alpha) {
      const { width, height, levels } = layer.alpha;
      const column = Math.min(Math.max(Math.floor((x * width) / size[0]), 0), width - 1);
      const row = Math.min(Math.max(Math.floor((y * height) / size[1]), 0), height - 1);
      own = levels[row * width + column] / 255;
    }
    const share = own * left;
    left *= 1 - own;
    return share;
  });
}
