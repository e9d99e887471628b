/** The pointer on footage: a box around an object, points on and beside it, a brush; and moving about the picture. */

import type { Point } from "../maps";
import type { PageHint } from "./protocol";
import type { FootageStage } from "./stage";

export type Tool = "box" | "point" | "brush" | "hand";
/** Dots of a brush lie so far apart, in radii. */
const SPACING = 0.5;
/** A box that is smaller is a slip of the hand, in pixels of the screen. */
const LEAST_BOX = 4;

export class FootagePointer {
  tool: Tool = "box";
  radius = 14;
  /** Whether points and the brush say where the object is not. Alt turns it round. */
  takesAway = false;
  private isSpaceHeld = false;
  private wasMoved = false;
  private readonly fingers = new Map<number, Point>();

  constructor(
    private readonly area: HTMLElement,
    private readonly stage: FootageStage,
    private readonly give: (hint: Omit<PageHint, "frame">) => void,
    private readonly begin: () => void,
  ) {
    area.addEventListener("pointerdown", (event) => this.down(event));
    area.addEventListener("pointermove", (event) => this.hover(event));
    area.addEventListener("pointerleave", () => this.leave());
    area.addEventListener("contextmenu", (event) => event.preventDefault());
    area.addEventListener("wheel", (event) => this.wheel(event), { passive: false });
  }

  show(): void {
    const isMoving = this.tool === "hand" || this.isSpaceHeld;
    this.area.style.cursor = isMoving ? "grab" : this.tool === "brush" ? "none" : "crosshair";
    if (this.tool !== "brush") this.leave();
  }

  /** While space is held the picture can be moved. */
  holdSpace(): void {
    this.isSpaceHeld = true;
    this.wasMoved = false;
    this.show();
  }

  /** Whether space was held without moving the picture. */
  releaseSpace(): boolean {
    const wasPressed = this.isSpaceHeld && !this.wasMoved;
    this.isSpaceHeld = false;
    this.show();
    return wasPressed;
  }

  /** Give up what is being drawn. */
  giveUp(): void {
    this.stage.drawing = null;
    this.stage.draw();
  }

  private leave(): void {
    this.stage.cursor = null;
    this.stage.draw();
  }

  private page({ clientX, clientY }: MouseEvent): Point {
    const { left, top } = this.area.getBoundingClientRect();
    return [(clientX - left) * devicePixelRatio, (clientY - top) * devicePixelRatio];
  }

  private at(event: MouseEvent): Point {
    return this.stage.view.toPicture(this.page(event));
  }

  private hover(event: PointerEvent): void {
    if (this.tool !== "brush" || this.isSpaceHeld) return;
    this.stage.cursor = { at: this.at(event), radius: this.radius };
    this.stage.draw();
  }

  private wheel(event: WheelEvent): void {
    event.preventDefault();
    this.stage.view.zoomAt(this.page(event), Math.exp(-event.deltaY * 0.0015));
    this.stage.draw();
  }

  private down(event: PointerEvent): void {
    this.area.focus({ preventScroll: true });
    if (event.pointerType === "touch") {
      this.fingers.set(event.pointerId, this.page(event));
      if (this.fingers.size === 2) {
        this.pinch(event);
        return;
      }
    }
    if (this.tool === "hand" || this.isSpaceHeld || event.button === 1) this.move(event);
    else {
      this.begin();
      const isInside = this.takesAway === (event.altKey || event.button === 2);
      if (this.tool === "box") this.box(event);
      else if (this.tool === "brush") this.brush(event, isInside);
      else if (this.stage.view.is(this.at(event))) this.give(isInside ? { include: [this.at(event)] } : { exclude: [this.at(event)] });
    }
  }

  private move(event: PointerEvent): void {
    let last = this.page(event);
    this.wasMoved = true;
    this.drag(event, (moved) => {
      const page = this.page(moved);
      this.stage.view.pan(page[0] - last[0], page[1] - last[1]);
      last = page;
    });
  }

  private pinch(event: PointerEvent): void {
    this.giveUp();
    this.drag(event, (moved) => {
      const before = [...this.fingers.values()];
      this.fingers.set(moved.pointerId, this.page(moved));
      const [a, b] = [...this.fingers.values()];
      if (!a || !b) return;
      const middle = ([p, q]: Point[]): Point => [(p[0] + q[0]) / 2, (p[1] + q[1]) / 2];
      const apart = ([p, q]: Point[]) => Math.hypot(p[0] - q[0], p[1] - q[1]);
      const [from, to] = [middle(before), middle([a, b])];
      this.stage.view.pan(to[0] - from[0], to[1] - from[1]);
      this.stage.view.zoomAt(to, apart([a, b]) / Math.max(apart(before), 1));
    });
  }

  private box(event: PointerEvent): void {
    const start = this.at(event);
    const drawing = (this.stage.drawing = { box: [start, start] as [Point, Point], radius: 0, isInside: true });
    this.drag(event, (moved) => (drawing.box[1] = this.at(moved)), () => {
      if (this.stage.drawing !== drawing) return;
      this.stage.drawing = null;
      const [width, height] = this.stage.view.size;
      const clip = ([x, y]: Point): Point => [Math.min(Math.max(x, 0), width), Math.min(Math.max(y, 0), height)];
      const [[x0, y0], [x1, y1]] = drawing.box.map(clip) as [Point, Point];
      const least = LEAST_BOX / this.stage.view.zoom;
      if (Math.abs(x1 - x0) < least || Math.abs(y1 - y0) < least) return;
      this.give({ box: [Math.min(x0, x1), Math.min(y0, y1), Math.abs(x1 - x0), Math.abs(y1 - y0)] });
    });
  }

  private brush(event: PointerEvent, isInside: boolean): void {
    const { radius } = this;
    const dots = [this.at(event)];
    const drawing = (this.stage.drawing = { dots, radius, isInside });
    this.drag(event, (moved) => {
      this.stage.cursor = { at: this.at(moved), radius };
      const to = this.at(moved);
      const from = dots[dots.length - 1];
      const steps = Math.floor(Math.hypot(to[0] - from[0], to[1] - from[1]) / (radius * SPACING));
      for (let step = 1; step <= steps; step++) {
        dots.push([from[0] + ((to[0] - from[0]) * step) / steps, from[1] + ((to[1] - from[1]) * step) / steps]);
      }
    }, () => {
      if (this.stage.drawing !== drawing) return;
      this.stage.drawing = null;
      const inside = dots.filter((dot) => this.stage.view.is(dot)).slice(0, 10_000);
      if (inside.length) this.give(isInside ? { include: inside, radius } : { exclude: inside, radius });
    });
  }

  private drag(event: PointerEvent, move: (event: PointerEvent) => void, end: () => void = () => {}): void {
    const { area } = this;
    area.setPointerCapture(event.pointerId);
    const moved = (next: PointerEvent) => {
      if (next.pointerId !== event.pointerId) return;
      move(next);
      this.stage.draw();
    };
    const ended = (last: PointerEvent) => {
      if (last.pointerId !== event.pointerId) return;
      area.removeEventListener("pointermove", moved);
      area.removeEventListener("pointerup", ended);
      area.removeEventListener("pointercancel", ended);
      this.fingers.delete(event.pointerId);
      if (last.type === "pointerup") end();
      else this.stage.drawing = null;
      this.stage.draw();
    };
    area.addEventListener("pointermove", moved);
    area.addEventListener("pointerup", ended);
    area.addEventListener("pointercancel", ended);
  }
}
