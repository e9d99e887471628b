/** Adjusted layers on the GPU: their texture and light as `compose/adjust.py` says, made again when the adjustment changes. */

import { addMips, drawWhole, formats, Program, Target, WHOLE_VERTEX, type GL } from "./context";
import { ADJUST_FRAGMENT } from "./shaders";

/** What is done to a layer: its colours, all over or by texel, and the power of its light. */
export interface Adjustment {
  colours: [number, number, number, number];
  field: WebGLTexture | null;
  light: number;
}

export class Adjusting {
  private readonly pass: Program;

  constructor(private readonly gl: GL) {
    this.pass = new Program(gl, WHOLE_VERTEX, ADJUST_FRAGMENT);
  }

  /** A texture in adjusted colours, with its smaller copies. */
  colours(texels: WebGLTexture, size: [number, number], { colours, field }: Adjustment): Target {
    const target = this.draw(texels, size, { colours, field, light: 1 });
    addMips(this.gl, target.textures[0]);
    return target;
  }

  /** A grid of light, stronger or weaker. */
  light(grid: WebGLTexture, size: [number, number], strength: number): Target {
    return this.draw(grid, size, { colours: [0, 0, 0, 0], field: null, light: strength });
  }

  private draw(image: WebGLTexture, [width, height]: [number, number], { colours, field, light }: Adjustment): Target {
    const gl = this.gl;
    const target = new Target(gl, formats(gl).rgba16f, width, height);
    target.bind();
    gl.disable(gl.BLEND);
    const pass = this.pass.use();
    pass.texture("image", 0, image).texture("field", 1, field ?? image);
    pass.set("adjustment", ...colours).set("strength", light).integer("has_field", field ? 1 : 0);
    drawWhole(gl);
    return target;
  }
}
