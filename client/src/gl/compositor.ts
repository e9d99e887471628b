/** Draws frames of the project as Python's renderer does, from maps, textures and edits that are kept on the GPU. */

import type { FrameMaps, LayerMaps } from "../maps";
import { Adjusting, type Adjustment } from "./adjusting";
import { addMips, drawWhole, formats, makeTexture, Program, Target, WHOLE_VERTEX, type GL } from "./context";
import { FINISH_FRAGMENT, FLAT_FRAGMENT, LAYER_FRAGMENT, LOOK_FRAGMENT } from "./shaders";

export interface LayerFacts {
  name: string;
  kind: "object" | "background";
  canvas: [number, number];
}

export interface PatchImages {
  left: number;
  top: number;
  width: number;
  height: number;
  change: WebGLTexture;
  opacity: WebGLTexture | null;
}

interface FrameTextures {
  maps: FrameMaps;
  nodes: WebGLTexture[];
  lights: WebGLTexture[];
  /** In the strength of the layers' adjustments; null where light is as stored. */
  strengthened: (Target | null)[];
  alphas: WebGLTexture;
}

export interface Scene {
  patches: (PatchImages | null)[];
  paintings: (WebGLTexture | null)[];
  hidden: boolean[];
  backdrop: WebGLTexture | null;
}

export type Look = "matte" | "uv" | "light";

export class Compositor {
  /** The layers' textures, adjusted. */
  readonly texels: (WebGLTexture | null)[];
  private readonly stored: (WebGLTexture | null)[];
  private readonly adjusted: (Target | null)[];
  private readonly adjustments: (Adjustment | null)[];
  private readonly adjusting: Adjusting;
  private readonly layerPass: Program;
  private readonly finishPass: Program;
  private readonly lookPass: Program;
  private readonly flatPass: Program;
  private readonly nothing: WebGLTexture;
  private sums: Target | null = null;
  private result: Target | null = null;
  private kept: FrameTextures | null = null;

  constructor(
    readonly gl: GL,
    private readonly layers: LayerFacts[],
    private readonly frameSize: [number, number],
  ) {
    this.layerPass = new Program(gl, WHOLE_VERTEX, LAYER_FRAGMENT);
    this.finishPass = new Program(gl, WHOLE_VERTEX, FINISH_FRAGMENT);
    this.lookPass = new Program(gl, WHOLE_VERTEX, LOOK_FRAGMENT);
    this.flatPass = new Program(gl, WHOLE_VERTEX, FLAT_FRAGMENT);
    this.nothing = makeTexture(gl, formats(gl).rgba8, 1, 1, new Uint8Array(4));
    this.adjusting = new Adjusting(gl);
    const none = layers.map(() => null);
    this.texels = [...none];
    this.stored = [...none];
    this.adjusted = [...none];
    this.adjustments = [...none];
  }

  setTexels(layer: number, halves: Uint16Array): void {
    const [width, height] = this.layers[layer].canvas;
    const texture = makeTexture(this.gl, formats(this.gl).rgba16f, width, height, halves);
    addMips(this.gl, texture);
    this.stored[layer] = texture;
    this.adjust(layer, this.adjustments[layer]);
  }

  /** Show a layer in other colours and light; null: as it is. */
  adjust(layer: number, adjustment: Adjustment | null): void {
    this.adjustments[layer] = adjustment;
    this.adjusted[layer]?.delete();
    const stored = this.stored[layer];
    const changes = adjustment && (adjustment.field || adjustment.colours.some((value) => value !== 0));
    this.adjusted[layer] = stored && changes ? this.adjusting.colours(stored, this.layers[layer].canvas, adjustment) : null;
    this.texels[layer] = this.adjusted[layer]?.textures[0] ?? stored;
    if (this.kept) this.strengthen(this.kept, layer);
  }

  private strengthen({ maps, lights, strengthened }: FrameTextures, layer: number): void {
    const { columns, rows } = maps.layers[layer].light;
    const strength = this.adjustments[layer]?.light ?? 1;
    strengthened[layer]?.delete();
    strengthened[layer] = strength === 1 ? null : this.adjusting.light(lights[layer], [columns, rows], strength);
  }

  /** The edited frame as a texture of `scale` times the frame's size; the source's picture may be missing. */
  draw(maps: FrameMaps, source: WebGLTexture | null, scene: Scene, scale: number): WebGLTexture {
    const gl = this.gl;
    const sums = this.sumsOf(scale);
    const frame = this.upload(maps);
    sums.bind();
    gl.clearColor(0, 0, 0, 0);
    gl.clear(gl.COLOR_BUFFER_BIT);
    gl.enable(gl.BLEND);
    gl.blendEquation(gl.FUNC_ADD);
    gl.blendFunc(gl.ONE, gl.ONE);
    this.layers.forEach((_, layer) => this.drawLayer(frame, layer, scene, sums));
    gl.disable(gl.BLEND);
    this.result!.bind();
    const pass = this.finishPass.use();
    pass.texture("source", 0, source ?? this.nothing);
    ["explained", "kept_content", "changed", "taken"].forEach((name, number) =>
      pass.texture(name, number + 1, sums.textures[number]),
    );
    pass.integer("has_source", source ? 1 : 0);
    drawWhole(gl);
    return this.result!.textures[0];
  }

  /** One layer looked at: its matte, a checkerboard that its map carries, or its light. */
  look(maps: FrameMaps, layer: number, look: Look, scale: number): WebGLTexture {
    this.sumsOf(scale);
    const frame = this.upload(maps);
    const result = this.result!;
    result.bind();
    this.gl.disable(this.gl.BLEND);
    const pass = this.lookPass.use();
    this.setMaps(pass, frame, layer, result, 0);
    pass.integer("mode", { matte: 0, uv: 1, light: 2 }[look]);
    drawWhole(this.gl);
    return result.textures[0];
  }

  /** The pixels of the last picture that was drawn, rows from the frame's top. */
  read(): { width: number; height: number; pixels: Uint8Array } {
    const { width, height } = this.result!;
    const pixels = new Uint8Array(4 * width * height);
    this.result!.bind();
    this.gl.readPixels(0, 0, width, height, this.gl.RGBA, this.gl.UNSIGNED_BYTE, pixels);
    return { width, height, pixels };
  }

  /** A layer's canvas with its painting, 8-bit RGBA, rows from the top. */
  canvasColours(layer: number, painting: WebGLTexture | null): Uint8Array {
    const gl = this.gl;
    const [width, height] = this.layers[layer].canvas;
    const target = new Target(gl, formats(gl).rgba8, width, height);
    target.bind();
    gl.disable(gl.BLEND);
    const pass = this.flatPass.use();
    pass.texture("texels", 0, this.texels[layer]).texture("painting", 1, painting ?? this.nothing);
    drawWhole(gl);
    const pixels = new Uint8Array(4 * width * height);
    gl.readPixels(0, 0, width, height, gl.RGBA, gl.UNSIGNED_BYTE, pixels);
    target.delete();
    return pixels;
  }

  /** A layer's light in a frame, as the stroke shader divides by it. */
  lightTexture(maps: FrameMaps, layer: number): WebGLTexture {
    const { lights, strengthened } = this.upload(maps);
    return strengthened[layer]?.textures[0] ?? lights[layer];
  }

  private drawLayer(frame: FrameTextures, layer: number, scene: Scene, target: Target): void {
    const texels = this.texels[layer];
    if (!texels) return;
    const patch = scene.patches[layer];
    const painting = scene.paintings[layer];
    const isLast = layer === this.layers.length - 1;
    const pass = this.layerPass.use();
    this.setMaps(pass, frame, layer, target, scene.hidden.reduce((mask, hidden, at) => mask | (+hidden << at), 0));
    pass.texture("texels", 3, texels);
    pass.texture("patch_change", 4, patch?.change ?? this.nothing);
    pass.texture("patch_opacity", 5, patch?.opacity ?? this.nothing);
    pass.texture("painting", 6, painting ?? this.nothing);
    pass.texture("backdrop", 7, scene.backdrop ?? this.nothing);
    const adjustment = this.adjustments[layer];
    pass.texture("stored_texels", 8, this.stored[layer]).texture("stored_light", 9, frame.lights[layer]);
    pass.texture("field", 10, adjustment?.field ?? this.nothing);
    pass.set("adjustment", ...(adjustment?.colours ?? [0, 0, 0, 0]));
    pass.integer("is_adjusted", adjustment ? 1 : 0).integer("has_field", adjustment?.field ? 1 : 0);
    pass.set("patch_corner", patch?.left ?? 0, patch?.top ?? 0);
    const replaced = scene.hidden[layer] || (isLast && scene.backdrop !== null);
    pass.integer("has_patch", patch && !replaced ? 1 : 0);
    pass.integer("has_opacities", patch?.opacity ? 1 : 0);
    pass.integer("has_painting", painting && !replaced ? 1 : 0);
    pass.integer("is_replaced", replaced ? 1 : 0);
    pass.integer("has_backdrop", isLast && scene.backdrop && !scene.hidden[layer] ? 1 : 0);
    drawWhole(this.gl);
  }

  private setMaps(pass: Program, frame: FrameTextures, layer: number, target: Target, hidden: number): void {
    const { affine, low, step } = frame.maps.layers[layer];
    pass.texture("nodes", 0, frame.nodes[layer]);
    pass.texture("light", 1, frame.strengthened[layer]?.textures[0] ?? frame.lights[layer]);
    pass.texture("alphas", 2, frame.alphas, this.gl.TEXTURE_2D_ARRAY);
    pass.set("affine_u", affine[0], affine[1], affine[2]).set("affine_v", affine[3], affine[4], affine[5]);
    pass.set("low", ...low).set("steps", ...step).set("frame_size", ...this.frameSize);
    pass.set("canvas", ...this.layers[layer].canvas);
    pass.set("pixels_per_output", this.frameSize[0] / target.width, this.frameSize[1] / target.height);
    pass.integer("layer", layer).integer("objects", this.layers.length - 1).integer("hidden_mask", hidden);
  }

  private sumsOf(scale: number): Target {
    const width = Math.max(1, Math.round(this.frameSize[0] * scale));
    const height = Math.max(1, Math.round(this.frameSize[1] * scale));
    if (!this.sums || this.sums.width !== width || this.sums.height !== height) {
      this.sums?.delete();
      this.result?.delete();
      this.sums = new Target(this.gl, formats(this.gl).rgba16f, width, height, 4);
      this.result = new Target(this.gl, formats(this.gl).rgba8, width, height);
    }
    return this.sums;
  }

  /** One frame's maps on the GPU; those of the frame before are let go of. */
  private upload(maps: FrameMaps): FrameTextures {
    if (this.kept?.maps === maps) return this.kept;
    const gl = this.gl;
    if (this.kept) {
      [...this.kept.nodes, ...this.kept.lights, this.kept.alphas].forEach((texture) => gl.deleteTexture(texture));
      this.kept.strengthened.forEach((target) => target?.delete());
    }
    const { rg16ui, rgba16f } = formats(gl);
    this.kept = {
      maps,
      nodes: maps.layers.map(({ nodes }) =>
        makeTexture(gl, rg16ui, nodes.columns, nodes.rows, nodes.levels, gl.NEAREST),
      ),
      lights: maps.layers.map(({ light }) => makeTexture(gl, rgba16f, light.columns, light.rows, light.halves)),
      strengthened: maps.layers.map(() => null),
      alphas: this.uploadAlphas(maps.layers),
    };
    const made = this.kept;
    maps.layers.forEach((_, layer) => this.strengthen(made, layer));
    return made;
  }

  private uploadAlphas(layers: LayerMaps[]): WebGLTexture {
    const gl = this.gl;
    const objects = layers.flatMap((layer) => (layer.alpha ? [layer.alpha] : []));
    const { width, height } = objects[0] ?? { width: 1, height: 1 };
    const texture = gl.createTexture()!;
    gl.bindTexture(gl.TEXTURE_2D_ARRAY, texture);
    gl.pixelStorei(gl.UNPACK_ALIGNMENT, 1);
    gl.texImage3D(gl.TEXTURE_2D_ARRAY, 0, gl.R8, width, height, Math.max(objects.length, 1), 0, gl.RED, gl.UNSIGNED_BYTE, null);
    objects.forEach(({ levels }, slice) =>
      gl.texSubImage3D(gl.TEXTURE_2D_ARRAY, 0, 0, 0, slice, width, height, 1, gl.RED, gl.UNSIGNED_BYTE, levels),
    );
    for (const side of [gl.TEXTURE_WRAP_S, gl.TEXTURE_WRAP_T]) gl.texParameteri(gl.TEXTURE_2D_ARRAY, side, gl.CLAMP_TO_EDGE);
    for (const way of [gl.TEXTURE_MIN_FILTER, gl.TEXTURE_MAG_FILTER]) gl.texParameteri(gl.TEXTURE_2D_ARRAY, way, gl.LINEAR);
    return texture;
  }
}
