/** The stage: the frame, a layer's canvas or both side by side, zoomed and moved; and where the pointer is in each. */

import type { Frames } from "./frames";
import type { Compositor, Look } from "./gl/compositor";
import { drawWhole, formats, makeTexture, Program, WHOLE_VERTEX, type GL } from "./gl/context";
import { CANVAS_FRAGMENT, SHOW_FRAGMENT } from "./gl/shaders";
import { uvAt, xyOf, type Point } from "./maps";
import type { Player } from "./player";
import type { Session } from "./session";
import { View } from "./view";
import type { At } from "./protocol";
import { drawHandles } from "./tools/place";

export type Show = "edited" | "source" | "wipe" | Look;
export type Panes = "frame" | "texture" | "both";

export class Stage {
  show: Show = "edited";
  panes: Panes = "frame";
  wipe = 0.5;
  layer: number;
  cursor: Point | null = null;
  brushRadius = 0;
  /** Where the chosen edit lies, if it lies in the frame that is shown. */
  place: At | null = null;
  /** Why the server draws this frame; empty where the page does. */
  serverDraws = "";
  readonly frameView: View;
  readonly canvasView: View;
  private readonly showPass: Program;
  private readonly canvasPass: Program;
  private readonly over: CanvasRenderingContext2D;
  private source: { bitmap: ImageBitmap; texture: WebGLTexture } | null = null;
  private drawn: { address: string; texture: WebGLTexture } | null = null;
  private asked = "";
  private isDue = false;

  constructor(
    private readonly canvas: HTMLCanvasElement,
    overlay: HTMLCanvasElement,
    private readonly gl: GL,
    private readonly session: Session,
    private readonly compositor: Compositor,
    private readonly frames: Frames,
    private readonly player: Player,
  ) {
    const { facts } = session;
    this.layer = facts.layers.length - 1;
    this.frameView = new View([facts.width, facts.height]);
    this.canvasView = new View(facts.layers[this.layer].canvas);
    this.showPass = new Program(gl, WHOLE_VERTEX, SHOW_FRAGMENT);
    this.canvasPass = new Program(gl, WHOLE_VERTEX, CANVAS_FRAGMENT);
    this.over = overlay.getContext("2d")!;
    new ResizeObserver(() => this.lay()).observe(canvas);
  }

  choose(layer: number): void {
    this.layer = layer;
    this.canvasView.size = this.session.facts.layers[layer].canvas;
    this.lay();
  }

  /** Divide the stage among its panes. */
  lay(): void {
    const width = (this.canvas.width = Math.max(1, Math.round(this.canvas.clientWidth * devicePixelRatio)));
    const height = (this.canvas.height = Math.max(1, Math.round(this.canvas.clientHeight * devicePixelRatio)));
    this.over.canvas.width = width;
    this.over.canvas.height = height;
    const half = Math.floor(width / 2);
    this.frameView.setPane(0, 0, this.panes === "both" ? half - 2 : width, height);
    if (this.panes === "both") this.canvasView.setPane(half + 2, 0, width - half - 2, height);
    else this.canvasView.setPane(0, 0, width, height);
    this.draw();
  }

  /** Draw with the next picture of the screen. */
  draw(): void {
    if (this.isDue) return;
    this.isDue = true;
    requestAnimationFrame(() => {
      this.isDue = false;
      this.drawNow();
    });
  }

  /** The view under a point of the page (screen pixels); null beside them. */
  viewAt(page: Point): View | null {
    if (this.panes !== "texture" && this.frameView.contains(page)) return this.frameView;
    return this.panes !== "frame" && this.canvasView.contains(page) ? this.canvasView : null;
  }

  drawNow(): void {
    const gl = this.gl;
    gl.bindFramebuffer(gl.FRAMEBUFFER, null);
    gl.viewport(0, 0, this.canvas.width, this.canvas.height);
    gl.clearColor(0.082, 0.086, 0.094, 1);
    gl.clear(gl.COLOR_BUFFER_BIT);
    if (this.panes !== "texture") this.drawFrame();
    if (this.panes !== "frame") this.drawCanvas();
    this.drawCursor();
  }

  /** The frame as it was last composited, for tests and for picking colours. */
  pixels(): { width: number; height: number; pixels: Uint8Array } {
    this.composite(1);
    return this.compositor.read();
  }

  private drawFrame(): void {
    const isWipe = this.show === "wipe";
    const frame = this.frames.peek(this.player.frame);
    if (!frame) return;
    const isEdited = this.show === "edited" || isWipe;
    this.serverDraws = isEdited ? (this.session.state?.server_draws ?? "") : "";
    const source = this.sourceTexture(frame.picture);
    const scale = this.player.isPlaying ? Math.min(1, Math.max(0.25, this.frameView.zoom)) : 1;
    const right = this.show === "source" ? source : this.serverDraws ? this.drawnByServer() : this.composite(scale);
    const left = isWipe ? source : right;
    if (!right || !left) return;
    const pass = this.showPass.use();
    this.toPane(pass, this.frameView);
    pass.texture("left_picture", 0, left).texture("right_picture", 1, right);
    pass.set("wipe", isWipe ? this.wipe : 0);
    drawWhole(this.gl);
    this.gl.disable(this.gl.SCISSOR_TEST);
  }

  private composite(scale: number): WebGLTexture | null {
    const frame = this.frames.peek(this.player.frame);
    if (!frame) return null;
    if (this.show === "matte" || this.show === "uv" || this.show === "light") {
      return this.compositor.look(frame.maps, this.layer, this.show, scale);
    }
    return this.compositor.draw(frame.maps, this.sourceTexture(frame.picture), this.session.scene, scale);
  }

  private drawCanvas(): void {
    const texels = this.compositor.texels[this.layer];
    if (!texels) return;
    const pass = this.canvasPass.use();
    const patch = this.session.scene.patches[this.layer];
    const painting = this.session.scene.paintings[this.layer];
    this.toPane(pass, this.canvasView);
    pass.texture("texels", 0, texels).texture("patch_change", 1, patch?.change ?? texels);
    pass.texture("patch_opacity", 2, patch?.opacity ?? texels).texture("painting", 3, painting ?? texels);
    pass.set("patch_corner", patch?.left ?? 0, patch?.top ?? 0).set("patch_size", patch?.width ?? 1, patch?.height ?? 1);
    pass.integer("has_patch", patch ? 1 : 0).integer("has_painting", painting ? 1 : 0).integer("marks_unseen", 1);
    drawWhole(this.gl);
    this.gl.disable(this.gl.SCISSOR_TEST);
  }

  private toPane(pass: Program, view: View): void {
    const gl = this.gl;
    const { left, top, width, height } = view.pane;
    const bottom = this.canvas.height - top - height;
    gl.bindFramebuffer(gl.FRAMEBUFFER, null);
    gl.viewport(0, 0, this.canvas.width, this.canvas.height);
    gl.enable(gl.SCISSOR_TEST);
    gl.scissor(left, bottom, width, height);
    pass.use();
    pass.set("pane_corner", left, bottom).set("pane_size", width, height);
    pass.set("origin", ...view.origin).set("size", ...view.size).set("zoom", view.zoom);
  }

  /** The brush around the pointer, and where the same place lies in the other pane. */
  private drawCursor(): void {
    const { width, height } = this.over.canvas;
    this.over.clearRect(0, 0, width, height);
    if (this.place && this.panes !== "texture") drawHandles(this.over, this.frameView, this.place);
    const view = this.cursor && this.viewAt(this.cursor);
    if (!this.cursor || !view) return;
    if (this.brushRadius) this.ring(this.cursor, this.brushRadius * view.zoom);
    const twin = this.twin(view, view.toPicture(this.cursor));
    if (twin) this.cross(twin);
  }

  private twin(view: View, at: Point): Point | null {
    const frame = this.frames.peek(this.player.frame);
    if (this.panes !== "both" || !frame || !view.is(at)) return null;
    const maps = frame.maps.layers[this.layer];
    if (view === this.frameView) return this.canvasView.toPage(uvAt(maps, this.frameView.size, at).uv);
    const xy = xyOf(maps, this.frameView.size, at);
    return xy && this.frameView.toPage(xy);
  }

  private ring([x, y]: Point, radius: number): void {
    for (const [colour, width] of [["#000a", 3], ["#fff", 1.2]] as const) {
      this.over.strokeStyle = colour;
      this.over.lineWidth = width;
      this.over.beginPath();
      this.over.arc(x, y, Math.max(radius, 2), 0, 2 * Math.PI);
      this.over.stroke();
    }
  }

  private cross([x, y]: Point): void {
    for (const [colour, width] of [["#000a", 4], ["#ffd166", 1.6]] as const) {
      this.over.strokeStyle = colour;
      this.over.lineWidth = width;
      this.over.beginPath();
      this.over.moveTo(x - 9, y);
      this.over.lineTo(x + 9, y);
      this.over.moveTo(x, y - 9);
      this.over.lineTo(x, y + 9);
      this.over.stroke();
    }
  }

  private sourceTexture(bitmap: ImageBitmap | null): WebGLTexture | null {
    if (!bitmap) return null;
    if (this.source?.bitmap !== bitmap) {
      const gl = this.gl;
      if (this.source) gl.deleteTexture(this.source.texture);
      this.source = { bitmap, texture: this.textureOf(bitmap) };
    }
    return this.source.texture;
  }

  private textureOf(bitmap: ImageBitmap): WebGLTexture {
    const gl = this.gl;
    const texture = makeTexture(gl, formats(gl).rgba8, bitmap.width, bitmap.height);
    gl.pixelStorei(gl.UNPACK_PREMULTIPLY_ALPHA_WEBGL, false);
    gl.texSubImage2D(gl.TEXTURE_2D, 0, 0, 0, gl.RGBA, gl.UNSIGNED_BYTE, bitmap);
    return texture;
  }

  /** The last picture of the server; a newer one is asked for if there is one. */
  private drawnByServer(): WebGLTexture | null {
    const revision = this.session.state?.revision ?? 0;
    const address = `/api/drawn/${this.player.frame}?scale=${this.player.isPlaying ? 0.5 : 1}&revision=${revision}`;
    if (this.drawn?.address !== address && this.asked !== address) {
      this.asked = address;
      void fetch(address)
        .then((answer) => (answer.ok ? answer.blob() : Promise.reject(new Error(String(answer.status)))))
        .then((blob) => createImageBitmap(blob, { colorSpaceConversion: "none" }))
        .then((bitmap) => {
          if (this.asked !== address) return; // stale: another frame is wanted meanwhile
          if (this.drawn) this.gl.deleteTexture(this.drawn.texture);
          this.drawn = { address, texture: this.textureOf(bitmap) };
          bitmap.close();
          this.draw();
        })
        .catch((error: Error) => {
          this.asked = "";
          this.session.onProblem(`The frame could not be drawn: ${error.message}`);
        });
    }
    return this.drawn?.texture ?? null;
  }
}
