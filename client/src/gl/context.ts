/** The few calls of WebGL2 that everything here is made of. */

export type GL = WebGL2RenderingContext;

export class GraphicsError extends Error {}

/** LayerLoom draws in half floats; a browser that cannot is told so in words. */
export function openContext(canvas: HTMLCanvasElement): GL {
  const gl = canvas.getContext("webgl2", { alpha: false, antialias: false, preserveDrawingBuffer: true });
  if (!gl) throw new GraphicsError("This browser has no WebGL2, which the editor draws with.");
  const floats = gl.getExtension("EXT_color_buffer_float") ?? gl.getExtension("EXT_color_buffer_half_float");
  if (!floats) throw new GraphicsError("This browser's WebGL2 cannot draw to half floats, which the editor needs.");
  return gl;
}

export class Program {
  readonly handle: WebGLProgram;
  private readonly places = new Map<string, WebGLUniformLocation | null>();

  constructor(private readonly gl: GL, vertex: string, fragment: string) {
    this.handle = gl.createProgram()!;
    for (const [kind, source] of [
      [gl.VERTEX_SHADER, vertex],
      [gl.FRAGMENT_SHADER, fragment],
    ] as const) {
      const shader = gl.createShader(kind)!;
      gl.shaderSource(shader, source);
      gl.compileShader(shader);
      if (!gl.getShaderParameter(shader, gl.COMPILE_STATUS)) throw new GraphicsError(gl.getShaderInfoLog(shader) ?? "");
      gl.attachShader(this.handle, shader);
    }
    gl.linkProgram(this.handle);
    if (!gl.getProgramParameter(this.handle, gl.LINK_STATUS)) {
      throw new GraphicsError(gl.getProgramInfoLog(this.handle) ?? "");
    }
  }

  use(): this {
    this.gl.useProgram(this.handle);
    return this;
  }

  place(name: string): WebGLUniformLocation | null {
    if (!this.places.has(name)) this.places.set(name, this.gl.getUniformLocation(this.handle, name));
    return this.places.get(name)!;
  }

  set(name: string, ...values: number[]): this {
    const at = this.place(name);
    if (values.length === 1) this.gl.uniform1f(at, values[0]);
    else if (values.length === 2) this.gl.uniform2f(at, values[0], values[1]);
    else if (values.length === 3) this.gl.uniform3f(at, values[0], values[1], values[2]);
    else this.gl.uniform4f(at, values[0], values[1], values[2], values[3]);
    return this;
  }

  integer(name: string, value: number): this {
    this.gl.uniform1i(this.place(name), value);
    return this;
  }

  /** Bind a texture to a unit and name it. */
  texture(name: string, unit: number, texture: WebGLTexture | null, kind: number = this.gl.TEXTURE_2D): this {
    this.gl.activeTexture(this.gl.TEXTURE0 + unit);
    this.gl.bindTexture(kind, texture);
    this.gl.uniform1i(this.place(name), unit);
    return this;
  }
}

export interface Format {
  internal: number;
  format: number;
  type: number;
}

export const formats = (gl: GL) => ({
  rgba8: { internal: gl.RGBA8, format: gl.RGBA, type: gl.UNSIGNED_BYTE },
  rgba16f: { internal: gl.RGBA16F, format: gl.RGBA, type: gl.HALF_FLOAT },
  r8: { internal: gl.R8, format: gl.RED, type: gl.UNSIGNED_BYTE },
  rg16ui: { internal: gl.RG16UI, format: gl.RG_INTEGER, type: gl.UNSIGNED_SHORT },
});

export function makeTexture(
  gl: GL,
  { internal, format, type }: Format,
  width: number,
  height: number,
  data: ArrayBufferView | null = null,
  filter: number = gl.LINEAR,
): WebGLTexture {
  const texture = gl.createTexture()!;
  gl.bindTexture(gl.TEXTURE_2D, texture);
  gl.pixelStorei(gl.UNPACK_ALIGNMENT, 1);
  gl.texImage2D(gl.TEXTURE_2D, 0, internal, width, height, 0, format, type, data);
  gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_MIN_FILTER, filter);
  gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_MAG_FILTER, filter);
  gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_WRAP_S, gl.CLAMP_TO_EDGE);
  gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_WRAP_T, gl.CLAMP_TO_EDGE);
  return texture;
}

/** Smaller copies for a texture, blended between. */
export function addMips(gl: GL, texture: WebGLTexture): void {
  gl.bindTexture(gl.TEXTURE_2D, texture);
  gl.generateMipmap(gl.TEXTURE_2D);
  gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_MIN_FILTER, gl.LINEAR_MIPMAP_LINEAR);
}

/** Where passes draw to: one texture or several of one size. */
export class Target {
  readonly frame: WebGLFramebuffer;
  readonly textures: WebGLTexture[];

  constructor(private readonly gl: GL, format: Format, readonly width: number, readonly height: number, count = 1) {
    this.textures = Array.from({ length: count }, () => makeTexture(gl, format, width, height));
    this.frame = gl.createFramebuffer()!;
    gl.bindFramebuffer(gl.FRAMEBUFFER, this.frame);
    this.textures.forEach((texture, number) =>
      gl.framebufferTexture2D(gl.FRAMEBUFFER, gl.COLOR_ATTACHMENT0 + number, gl.TEXTURE_2D, texture, 0),
    );
    gl.drawBuffers(this.textures.map((_, number) => gl.COLOR_ATTACHMENT0 + number));
    if (gl.checkFramebufferStatus(gl.FRAMEBUFFER) !== gl.FRAMEBUFFER_COMPLETE) {
      throw new GraphicsError("This browser's WebGL2 cannot draw to several half-float pictures at once.");
    }
  }

  bind(): void {
    this.gl.bindFramebuffer(this.gl.FRAMEBUFFER, this.frame);
    this.gl.viewport(0, 0, this.width, this.height);
  }

  delete(): void {
    this.textures.forEach((texture) => this.gl.deleteTexture(texture));
    this.gl.deleteFramebuffer(this.frame);
  }
}

export const WHOLE_VERTEX = `#version 300 es
void main() {
  vec2 corner = vec2(gl_VertexID == 1 ? 3.0 : -1.0, gl_VertexID == 2 ? 3.0 : -1.0);
  gl_Position = vec4(corner, 0.0, 1.0);
}`;

/** One triangle over all of the target. */
export function drawWhole(gl: GL): void {
  gl.drawArrays(gl.TRIANGLES, 0, 3);
}
