/** The pointer on the stage: which tool it holds, and what it does to picture, view and painting. */

import type { App } from "./app";
import { uvAt, type Point } from "./maps";
import { fill } from "./fill";
import type { PlacedEdit } from "./protocol";
import type { PenPoint } from "./stroke";
import { dragged, handleAt, moved, placeOf, Previews } from "./tools/place";
import { layerUnder, Stroke, type Kind } from "./tools/paint";
import { button } from "./ui/dom";
import { icon, type Sign } from "./ui/icons";
import type { PanelActions } from "./ui/panel";
import type { View } from "./view";

export type Tool = "brush" | "eraser" | "clone" | "fill" | "place" | "hand";

const TOOLS: [Tool, Sign, string, string][] = [
  ["brush", "brush", "Brush (B)", "b"],
  ["eraser", "eraser", "Eraser (E)", "e"],
  ["clone", "clone", "Clone (S); Alt-click sets where to copy from", "s"],
  ["fill", "fill", "Fill what looks alike (G)", "g"],
  ["place", "place", "Place: move, scale and turn words and pictures (V)", "v"],
  ["hand", "hand", "Move the picture (H)", "h"],
];
const KINDS: Partial<Record<Tool, Kind>> = { brush: "paint", eraser: "erase", clone: "clone" };
const FILL_TOLERANCE = 28;

export class Pointer {
  tool: Tool = "brush";
  private autoLayer = true;
  private stroke: Stroke | null = null;
  private cloneFrom: { layer: number; uv: Point } | null = null;
  private cloneShift: Point | null = null;
  private isSpaceHeld = false;
  private spaceDragged = false;
  private chosen: string | null = null;
  private readonly previews: Previews;
  private readonly tools = new Map<Tool, HTMLButtonElement>();
  private readonly fingers = new Map<number, Point>();

  constructor(
    private readonly area: HTMLElement,
    private readonly app: App,
  ) {
    this.previews = new Previews(app.session.connection);
    area.addEventListener("pointerdown", (event) => this.down(event));
    area.addEventListener("pointermove", (event) => this.hover(event));
    area.addEventListener("pointerleave", () => this.leave());
    area.addEventListener("wheel", (event) => this.wheel(event), { passive: false });
    window.addEventListener("keyup", (event) => event.key === " " && this.space(false));
  }

  buttons(): HTMLButtonElement[] {
    return TOOLS.map(([tool, sign, label]) => {
      const found = button(icon(sign), label, () => this.take(tool));
      this.tools.set(tool, found);
      return found;
    });
  }

  keys(): Record<string, () => void> {
    const keys = Object.fromEntries(TOOLS.map(([tool, , , key]) => [key, () => this.take(tool)]));
    return { ...keys, Escape: () => this.giveUp() };
  }

  panelActions(): PanelActions {
    const { app } = this;
    return {
      chosenLayer: () => app.stage.layer,
      chooseLayer: (layer) => {
        app.stage.choose(layer);
        app.refresh();
      },
      autoLayer: () => this.autoLayer,
      setAutoLayer: (on) => (this.autoLayer = on),
      hideLayer: (layer, hidden) => void this.hide(layer, hidden),
      soloLayer: (layer) => void this.solo(layer),
      brushChanged: () => this.showBrush(),
      chosenEdit: () => this.chosen,
      chooseEdit: (id) => this.chooseEdit(id),
    };
  }

  take(tool: Tool): void {
    this.tool = tool;
    this.app.refresh();
  }

  showTool(): void {
    this.tools.forEach((found, tool) => found.setAttribute("aria-pressed", String(tool === this.tool)));
    this.area.style.cursor = this.isMoving() ? "grab" : this.tool === "place" || this.tool === "fill" ? "crosshair" : "none";
    this.showPlace();
    this.showBrush();
  }

  /** Space plays; held while the pointer drags, it moves the picture. */
  space(isDown: boolean): void {
    if (!isDown && this.isSpaceHeld && !this.spaceDragged) this.app.togglePlaying();
    this.isSpaceHeld = isDown;
    this.spaceDragged = false;
    this.showTool();
  }

  resize(factor: number): void {
    const { settings, panel } = this.app;
    settings.radius = Math.min(200, Math.max(1, settings.radius * factor));
    panel.setSize(settings.radius);
    this.showBrush();
  }

  private isMoving(): boolean {
    return this.tool === "hand" || this.isSpaceHeld;
  }

  private showBrush(): void {
    this.app.stage.brushRadius = this.isMoving() || !KINDS[this.tool] ? 0 : this.app.settings.radius;
    this.app.stage.draw();
  }

  private page(event: PointerEvent | WheelEvent): Point {
    const { left, top } = this.area.getBoundingClientRect();
    return [(event.clientX - left) * devicePixelRatio, (event.clientY - top) * devicePixelRatio];
  }

  private hover(event: PointerEvent): void {
    this.app.stage.cursor = this.page(event);
    this.app.stage.draw();
  }

  private leave(): void {
    this.app.stage.cursor = null;
    this.app.stage.draw();
  }

  private wheel(event: WheelEvent): void {
    event.preventDefault();
    const view = this.app.stage.viewAt(this.page(event));
    view?.zoomAt(this.page(event), Math.exp(-event.deltaY * (event.ctrlKey ? 0.01 : 0.0016)));
    this.app.stage.draw();
  }

  private down(event: PointerEvent): void {
    const { stage, player } = this.app;
    const page = this.page(event);
    const view = stage.viewAt(page);
    if (!view) return;
    this.area.focus({ preventScroll: true });
    if (event.pointerType === "touch") {
      this.fingers.set(event.pointerId, page);
      if (this.fingers.size === 2) {
        this.giveUp();
        this.drag(event, () => this.pinch(view));
        return;
      }
    }
    if (this.isMoving() || event.button === 1) this.moveView(event, view, page);
    else if (stage.show === "wipe" && this.isOnWipe(view, page)) this.drag(event, (at) => this.setWipe(view, at));
    else if (event.altKey) this.pick(view, view.toPicture(page));
    else if (this.tool === "place") this.dragPlace(event, view, page);
    else if (this.tool === "fill") void this.fill(view, page);
    else if (event.button === 0) {
      player.pause();
      this.beginStroke(event, view, page);
    }
  }

  private moveView(event: PointerEvent, view: View, from: Point): void {
    let last = from;
    this.spaceDragged = true;
    this.drag(event, (at) => {
      view.pan(at[0] - last[0], at[1] - last[1]);
      last = at;
    });
  }

  private beginStroke(event: PointerEvent, view: View, page: Point): void {
    const { stage, session, frames, player, settings } = this.app;
    const onFrame = view === stage.frameView;
    const frame = frames.peek(player.frame);
    if (onFrame && (!frame || stage.serverDraws)) {
      this.app.problem("This frame is drawn by the server: switch camera, time and place edits off to paint on it, or paint on the texture.");
      return;
    }
    const at = view.toPicture(page);
    if (onFrame && this.autoLayer && view.is(at)) {
      const layer = layerUnder(frame!.maps, view.size, at);
      if (layer !== stage.layer) {
        stage.choose(layer);
        this.app.refresh();
      }
    }
    const kind = KINDS[this.tool]!;
    if (kind === "clone" && !this.aim(onFrame, at)) return;
    const maps = onFrame ? frame!.maps : null;
    const stroke = new Stroke(session, stage.layer, maps, settings, kind, this.cloneShift ?? [0, 0]);
    this.stroke = stroke;
    const point = (at: Point, pen: PointerEvent): PenPoint => ({
      at: view.toPicture(at),
      pressure: pen.pointerType === "pen" ? pen.pressure : 1,
    });
    stroke.move([point(page, event)]);
    stage.draw();
    const move = (_: Point, moved: PointerEvent) => {
      if (this.stroke !== stroke) return;
      const events = moved.getCoalescedEvents?.() ?? [];
      stroke.move((events.length ? events : [moved]).map((one) => point(this.page(one), one)));
    };
    this.drag(event, move, () => {
      if (this.stroke !== stroke) return;
      this.stroke = null;
      void stroke.end();
      stage.draw();
    });
  }

  /** Choose an edit, and go to the frame that it is placed in. */
  chooseEdit(id: string | null): void {
    this.chosen = id;
    const place = placeOf(this.chosenEdit());
    if (place?.frame != null) {
      this.tool = "place";
      this.app.player.pause();
      this.app.player.seek(place.frame - this.app.session.facts.first_frame);
    }
    this.app.refresh();
  }

  private chosenEdit(): PlacedEdit | undefined {
    return this.app.session.state?.edits.find(({ id }) => id === this.chosen);
  }

  /** The gizmo is shown in the frame that a place is said in. */
  showPlace(): void {
    const { stage, player, session } = this.app;
    const place = this.tool === "place" ? placeOf(this.chosenEdit()) : null;
    stage.place = place?.frame === player.frame + session.facts.first_frame ? place : null;
  }

  private dragPlace(event: PointerEvent, view: View, page: Point): void {
    const { stage, session } = this.app;
    const placed = this.chosenEdit();
    const place = stage.place;
    const handle = place && handleAt(view, place, page);
    if (!placed || !place || handle === null || view !== stage.frameView) return;
    const start = view.toPicture(page);
    let latest = placed;
    this.drag(
      event,
      (at) => {
        const next = dragged(place, handle, view, start, view.toPicture(at));
        latest = { ...placed, edit: { ...placed.edit, place: next } as PlacedEdit["edit"] };
        stage.place = next;
        this.previews.show(latest);
      },
      () => latest !== placed && void this.previews.keep(session, latest),
    );
  }

  /** Move what is placed by some pixels of the frame. */
  nudge(arrow: string, by: number): void {
    const placed = this.chosenEdit();
    const place = this.app.stage.place;
    if (!placed || !place) return;
    const [x, y] = { ArrowLeft: [-by, 0], ArrowRight: [by, 0], ArrowUp: [0, -by] }[arrow] ?? [0, by];
    const edit = { ...placed.edit, place: moved(place, [x, y]) } as PlacedEdit["edit"];
    void this.previews.keep(this.app.session, { ...placed, edit });
  }

  /** Fill texels that look alike, of the layer under the pointer. */
  private async fill(view: View, page: Point): Promise<void> {
    const { stage, session, frames, player, settings } = this.app;
    const at = view.toPicture(page);
    const frame = frames.peek(player.frame);
    const onFrame = view === stage.frameView;
    if (!view.is(at) || (onFrame && !frame)) return;
    if (onFrame && this.autoLayer) stage.choose(layerUnder(frame!.maps, view.size, at));
    const layer = stage.layer;
    const uv = onFrame ? uvAt(frame!.maps.layers[layer], view.size, at).uv : at;
    const [width, height] = session.facts.layers[layer].canvas;
    const colours = session.compositor.canvasColours(layer, session.scene.paintings[layer]);
    const filled = fill(colours, width, height, Math.floor(uv[0]), Math.floor(uv[1]), FILL_TOLERANCE);
    if (!filled) return;
    const painting = session.painting(layer);
    painting.begin();
    painting.setMask(filled.mask, filled);
    const light = onFrame ? session.compositor.lightTexture(frame!.maps, layer) : null;
    painting.show({ ...settings, kind: "paint", cloneShift: [0, 0] }, light, session.compositor.texels[layer]!);
    await session.sendStroke(layer, painting.end());
    this.app.refresh();
  }

  /** Follow the pointer until it is let go of. */
  private drag(event: PointerEvent, move: (at: Point, event: PointerEvent) => void, end: () => void = () => {}): void {
    const id = event.pointerId;
    this.area.setPointerCapture(id);
    const moved = (next: PointerEvent) => {
      if (next.pointerId !== id) return;
      if (this.fingers.has(id)) this.fingers.set(id, this.page(next));
      move(this.page(next), next);
      this.app.stage.draw();
    };
    const ended = (next: PointerEvent) => {
      if (next.pointerId !== id) return;
      this.fingers.delete(id);
      this.area.removeEventListener("pointermove", moved);
      this.area.removeEventListener("pointerup", ended);
      this.area.removeEventListener("pointercancel", ended);
      end();
    };
    this.area.addEventListener("pointermove", moved);
    this.area.addEventListener("pointerup", ended);
    this.area.addEventListener("pointercancel", ended);
  }

  private lastPinch: { middle: Point; width: number } | null = null;

  private pinch(view: View): void {
    const [a, b] = [...this.fingers.values()];
    if (!a || !b) {
      this.lastPinch = null;
      return;
    }
    const now = { middle: [(a[0] + b[0]) / 2, (a[1] + b[1]) / 2] as Point, width: Math.hypot(a[0] - b[0], a[1] - b[1]) };
    if (this.lastPinch) {
      view.pan(now.middle[0] - this.lastPinch.middle[0], now.middle[1] - this.lastPinch.middle[1]);
      view.zoomAt(now.middle, now.width / Math.max(this.lastPinch.width, 1));
    }
    this.lastPinch = now;
  }

  private isOnWipe(view: View, [x]: Point): boolean {
    return view === this.app.stage.frameView && Math.abs(view.toPage([this.app.stage.wipe * view.size[0], 0])[0] - x) < 12;
  }

  private setWipe(view: View, at: Point): void {
    this.app.stage.wipe = Math.min(0.999, Math.max(0.001, view.toPicture(at)[0] / view.size[0]));
  }

  private pick(view: View, at: Point): void {
    const { stage, frames, player, session, panel } = this.app;
    if (!view.is(at)) return;
    if (this.tool === "clone") {
      const frame = frames.peek(player.frame);
      const maps = frame?.maps.layers[stage.layer];
      const uv = view === stage.frameView && maps ? uvAt(maps, view.size, at).uv : at;
      this.cloneFrom = { layer: stage.layer, uv };
      this.cloneShift = null;
      return;
    }
    if (view !== stage.frameView || session.state === null) return;
    const { width, pixels } = stage.pixels();
    const start = 4 * (Math.floor(at[1]) * width + Math.floor(at[0]));
    panel.setColour([pixels[start] / 255, pixels[start + 1] / 255, pixels[start + 2] / 255]);
    stage.draw();
  }

  /** Where a clone copies from, for as long as it is aimed there. */
  private aim(onFrame: boolean, at: Point): boolean {
    const { stage, frames, player, session } = this.app;
    if (!this.cloneFrom || this.cloneFrom.layer !== stage.layer) {
      this.app.problem("Alt-click first where to copy from, on the same layer.");
      return false;
    }
    if (!this.cloneShift) {
      const { width, height } = session.facts;
      const maps = frames.peek(player.frame)?.maps.layers[stage.layer];
      const uv = onFrame && maps ? uvAt(maps, [width, height], at).uv : at;
      this.cloneShift = [this.cloneFrom.uv[0] - uv[0], this.cloneFrom.uv[1] - uv[1]];
    }
    return true;
  }

  private giveUp(): void {
    this.stroke?.cancel();
    this.stroke = null;
    this.app.stage.draw();
  }

  private async hide(layer: number, hidden: boolean): Promise<void> {
    const { session } = this.app;
    const name = session.facts.layers[layer].name;
    const found = session.state?.edits.find(({ edit }) => edit.kind === "hide" && edit.layer === name);
    if (hidden && found) await session.request({ type: "replace", placed: { ...found, enabled: true } });
    else if (hidden) {
      await session.request({ type: "add", placed: { id: `hide-${name}`.replaceAll(".", "_"), edit: { kind: "hide", layer: name }, enabled: true } });
    } else if (found) await session.request({ type: "remove", id: found.id });
  }

  /** Show one layer alone; a second time, all of them again. */
  private async solo(layer: number): Promise<void> {
    const { session } = this.app;
    const isSolo = session.state?.layers.every((state, number) => state.hidden === (number !== layer));
    for (const number of session.facts.layers.keys()) {
      const hidden = !isSolo && number !== layer;
      if (session.state?.layers[number].hidden !== hidden) await this.hide(number, hidden);
    }
  }
}
