/** A layer's painting on the GPU: strokes laid on, tiles read back and put back. Colours are premultiplied here. */

import type { Jacobian, Point } from "../maps";
import { addMips, drawWhole, formats, makeTexture, Program, Target, WHOLE_VERTEX, type GL } from "./context";
import { DAB_FRAGMENT, DAB_VERTEX, STROKE_FRAGMENT } from "./shaders";

export const TILE = 256;

export interface Brush {
  radius: number;
  hardness: number;
  opacity: number;
  colour: [number, number, number];
  kind: "paint" | "erase" | "clone";
  /** Texels from where is painted to where is cloned from. */
  cloneShift: Point;
}

export interface Tile {
  column: number;
  row: number;
}

export class PaintingPrograms {
  readonly dab: Program;
  readonly stroke: Program;
  readonly nothing: WebGLTexture;

  constructor(readonly gl: GL) {
    this.dab = new Program(gl, DAB_VERTEX, DAB_FRAGMENT);
    this.stroke = new Program(gl, WHOLE_VERTEX, STROKE_FRAGMENT);
    this.nothing = makeTexture(gl, formats(gl).rgba8, 1, 1, new Uint8Array(4));
  }
}

/** Where a stroke has been so far, in texels. */
interface Bounds {
  left: number;
  top: number;
  right: number;
  bottom: number;
}

export class Painting {
  private readonly gl: GL;
  private shown: Target;
  private before: Target | null = null;
  private mask: Target | null = null;
  private touched: Bounds | null = null;
  isEmpty = true;

  constructor(
    private readonly programs: PaintingPrograms,
    readonly width: number,
    readonly height: number,
  ) {
    this.gl = programs.gl;
    this.shown = new Target(this.gl, formats(this.gl).rgba8, width, height);
    this.clear(this.shown);
  }

  get texture(): WebGLTexture {
    return this.shown.textures[0];
  }

  begin(): void {
    this.before ??= new Target(this.gl, formats(this.gl).rgba8, this.width, this.height);
    this.mask ??= new Target(this.gl, formats(this.gl).rgba8, this.width, this.height);
    this.clear(this.mask);
    this.copy(this.shown, this.before);
    this.gl.bindTexture(this.gl.TEXTURE_2D, this.texture);
    this.gl.texParameteri(this.gl.TEXTURE_2D, this.gl.TEXTURE_MIN_FILTER, this.gl.LINEAR);
    this.touched = null;
  }

  /** A disk around a texel: of `radius` frame pixels that the map's derivative makes texels of. */
  dab(centre: Point, jacobian: Jacobian, radius: number, hardness: number, strength: number): void {
    const gl = this.gl;
    this.mask!.bind();
    gl.enable(gl.BLEND);
    gl.blendEquation(gl.MAX);
    const pass = this.programs.dab.use();
    pass.set("centre", ...centre).set("size", this.width, this.height).set("jacobian", ...jacobian);
    pass.set("radius", radius).set("hardness", hardness).set("strength", strength);
    gl.drawArrays(gl.TRIANGLE_STRIP, 0, 4);
    gl.blendEquation(gl.FUNC_ADD);
    gl.disable(gl.BLEND);
    const reachX = (Math.abs(jacobian[0]) + Math.abs(jacobian[1])) * (radius + 2);
    const reachY = (Math.abs(jacobian[2]) + Math.abs(jacobian[3])) * (radius + 2);
    this.touch({
      left: centre[0] - reachX,
      top: centre[1] - reachY,
      right: centre[0] + reachX,
      bottom: centre[1] + reachY,
    });
  }

  /** A mask of the whole canvas in place of dabs, such as what a fill has found. */
  setMask(levels: Uint8Array, bounds: Bounds): void {
    const gl = this.gl;
    const rgba = new Uint8Array(4 * levels.length);
    levels.forEach((level, at) => rgba.fill(level, 4 * at, 4 * at + 4));
    gl.bindTexture(gl.TEXTURE_2D, this.mask!.textures[0]);
    gl.texSubImage2D(gl.TEXTURE_2D, 0, 0, 0, this.width, this.height, gl.RGBA, gl.UNSIGNED_BYTE, rgba);
    this.touch(bounds);
  }

  /** Lay the stroke so far on what was there before it. light: of the frame that it is painted on. */
  show(brush: Brush, light: WebGLTexture | null, texels: WebGLTexture): void {
    if (!this.touched) return;
    const gl = this.gl;
    const { left, top, right, bottom } = this.clipped();
    this.shown.bind();
    gl.disable(gl.BLEND);
    gl.enable(gl.SCISSOR_TEST);
    gl.scissor(left, top, right - left, bottom - top);
    const pass = this.programs.stroke.use();
    pass.texture("before", 0, this.before!.textures[0]).texture("mask", 1, this.mask!.textures[0]);
    pass.texture("clone_texels", 2, texels).texture("clone_painting", 3, this.before!.textures[0]);
    pass.texture("light", 4, light ?? this.programs.nothing);
    pass.set("canvas", this.width, this.height).set("clone_shift", ...brush.cloneShift);
    pass.set("brush_colour", ...brush.colour).set("opacity", brush.opacity);
    pass.integer("kind", { paint: 0, erase: 1, clone: 2 }[brush.kind]).integer("divides_light", light ? 1 : 0);
    drawWhole(gl);
    gl.disable(gl.SCISSOR_TEST);
    this.isEmpty = false;
  }

  /** Ends the stroke; the tiles that it may have changed. */
  end(): Tile[] {
    if (!this.touched) return [];
    const { left, top, right, bottom } = this.clipped();
    const tiles: Tile[] = [];
    for (let row = Math.floor(top / TILE); row * TILE < bottom; row++) {
      for (let column = Math.floor(left / TILE); column * TILE < right; column++) tiles.push({ column, row });
    }
    addMips(this.gl, this.texture);
    return tiles;
  }

  cancel(): void {
    if (this.before) this.copy(this.before, this.shown);
    addMips(this.gl, this.texture);
  }

  /** A tile's pixels, straight RGBA; beyond the canvas transparent. */
  readTile({ column, row }: Tile): Uint8Array<ArrayBuffer> {
    const gl = this.gl;
    const width = Math.min(TILE, this.width - column * TILE);
    const height = Math.min(TILE, this.height - row * TILE);
    const part = new Uint8Array(4 * width * height);
    this.shown.bind();
    gl.readPixels(column * TILE, row * TILE, width, height, gl.RGBA, gl.UNSIGNED_BYTE, part);
    const tile = new Uint8Array(4 * TILE * TILE);
    for (let y = 0; y < height; y++) tile.set(part.subarray(4 * y * width, 4 * (y + 1) * width), 4 * y * TILE);
    return toStraight(tile);
  }

  /** Put a tile back, straight RGBA; null for an empty one. */
  writeTile({ column, row }: Tile, straight: Uint8Array | null): void {
    const gl = this.gl;
    const width = Math.min(TILE, this.width - column * TILE);
    const height = Math.min(TILE, this.height - row * TILE);
    const tile = straight ? toPremultiplied(straight) : new Uint8Array(4 * TILE * TILE);
    gl.bindTexture(gl.TEXTURE_2D, this.texture);
    gl.pixelStorei(gl.UNPACK_ROW_LENGTH, TILE);
    gl.texSubImage2D(gl.TEXTURE_2D, 0, column * TILE, row * TILE, width, height, gl.RGBA, gl.UNSIGNED_BYTE, tile);
    gl.pixelStorei(gl.UNPACK_ROW_LENGTH, 0);
    if (straight) this.isEmpty = false;
  }

  refreshMips(): void {
    addMips(this.gl, this.texture);
  }

  delete(): void {
    [this.shown, this.before, this.mask].forEach((target) => target?.delete());
  }

  private touch(bounds: Bounds): void {
    const sofar = this.touched ?? bounds;
    this.touched = {
      left: Math.min(sofar.left, bounds.left),
      top: Math.min(sofar.top, bounds.top),
      right: Math.max(sofar.right, bounds.right),
      bottom: Math.max(sofar.bottom, bounds.bottom),
    };
  }

  private clipped(): Bounds {
    const { left, top, right, bottom } = this.touched!;
    return {
      left: Math.max(0, Math.floor(left)),
      top: Math.max(0, Math.floor(top)),
      right: Math.min(this.width, Math.ceil(right)),
      bottom: Math.min(this.height, Math.ceil(bottom)),
    };
  }

  private clear(target: Target): void {
    target.bind();
    this.gl.clearColor(0, 0, 0, 0);
    this.gl.clear(this.gl.COLOR_BUFFER_BIT);
  }

  private copy(from: Target, to: Target): void {
    const gl = this.gl;
    gl.bindFramebuffer(gl.READ_FRAMEBUFFER, from.frame);
    gl.bindFramebuffer(gl.DRAW_FRAMEBUFFER, to.frame);
    gl.blitFramebuffer(0, 0, this.width, this.height, 0, 0, this.width, this.height, gl.COLOR_BUFFER_BIT, gl.NEAREST);
  }
}

/** Straight colours of premultiplied ones. `toPremultiplied` gives the same bytes back. */
export function toStraight(pixels: Uint8Array<ArrayBuffer>): Uint8Array<ArrayBuffer> {
  for (let at = 0; at < pixels.length; at += 4) {
    const alpha = pixels[at + 3];
    if (alpha === 0) pixels[at] = pixels[at + 1] = pixels[at + 2] = 0;
    else if (alpha < 255) {
      for (let channel = 0; channel < 3; channel++) {
        pixels[at + channel] = Math.min(255, Math.round((pixels[at + channel] * 255) / alpha));
      }
    }
  }
  return pixels;
}

export function toPremultiplied(pixels: Uint8Array): Uint8Array {
  const result = new Uint8Array(pixels);
  for (let at = 0; at < result.length; at += 4) {
    const alpha = result[at + 3];
    if (alpha < 255) {
      for (let channel = 0; channel < 3; channel++) {
        result[at + channel] = Math.round((result[at + channel] * alpha) / 255);
      }
    }
  }
  return result;
}
