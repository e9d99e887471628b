/** The stage for footage: a frame, the objects' masks over it, and what was said of them in it. */

import type { Point } from "../maps";
import type { Player } from "../player";
import { View } from "../view";
import type { Pictures, Tint } from "./pictures";
import type { ObjectState, PageHint } from "./protocol";

const COLOURS: [number, number, number][] = [
  [255, 176, 64], [86, 180, 233], [230, 120, 190], [64, 200, 140], [240, 228, 66], [213, 94, 60],
];

/** What is being drawn by hand: a box, or a brush's dots. */
export interface Drawing {
  box?: [Point, Point];
  dots?: Point[];
  radius: number;
  isInside: boolean;
}

export function tintOf(name: string, index: number): Tint {
  return { name, colour: COLOURS[index % COLOURS.length] };
}

export class FootageStage {
  readonly view: View;
  objects: ObjectState[] = [];
  chosen = "";
  showsMasks = true;
  drawing: Drawing | null = null;
  /** The brush's radius around the pointer, where there is one. */
  cursor: { at: Point; radius: number } | null = null;
  private readonly context: CanvasRenderingContext2D;
  private last: CanvasImageSource | null = null;
  private isDue = false;

  constructor(
    private readonly canvas: HTMLCanvasElement,
    private readonly pictures: Pictures,
    private readonly player: Player,
    private readonly size: Point,
    private readonly firstFrame: number,
  ) {
    this.context = canvas.getContext("2d")!;
    this.view = new View(size);
    new ResizeObserver(() => this.lay()).observe(canvas);
  }

  lay(): void {
    this.canvas.width = Math.max(1, Math.round(this.canvas.clientWidth * devicePixelRatio));
    this.canvas.height = Math.max(1, Math.round(this.canvas.clientHeight * devicePixelRatio));
    this.view.setPane(0, 0, this.canvas.width, this.canvas.height);
    this.draw();
  }

  draw(): void {
    if (this.isDue) return;
    this.isDue = true;
    requestAnimationFrame(() => {
      this.isDue = false;
      this.drawNow();
    });
  }

  private drawNow(): void {
    const { context, view, player, pictures } = this;
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.fillStyle = "#151618";
    context.fillRect(0, 0, this.canvas.width, this.canvas.height);
    context.setTransform(view.zoom, 0, 0, view.zoom, view.origin[0], view.origin[1]);
    this.last = pictures.frame(player.frame) ?? this.last;
    const [width, height] = this.size;
    context.imageSmoothingEnabled = view.zoom < 3;
    if (this.last) context.drawImage(this.last, 0, 0, width, height);
    const frame = this.firstFrame + player.frame;
    this.objects.forEach(({ name, hints }, index) => {
      const tint = tintOf(name, index);
      const mask = this.showsMasks && pictures.mask(tint, frame);
      if (mask) context.drawImage(mask, 0, 0, width, height);
      if (player.isPlaying) return;
      const isChosen = name === this.chosen;
      hints.filter((hint) => hint.frame === frame).forEach((hint) => this.drawHint(hint, tint, isChosen));
    });
    this.drawDrawing();
    pictures.lookAhead(player.frame);
  }

  private drawHint(hint: PageHint, { name, colour }: Tint, isChosen: boolean): void {
    const { context } = this;
    const pixel = devicePixelRatio / this.view.zoom;
    context.globalAlpha = isChosen ? 1 : 0.6;
    if (hint.box) {
      const [left, top, width, height] = hint.box;
      this.outline(colour, () => context.rect(left, top, width, height));
      context.font = `600 ${12 * pixel}px system-ui, sans-serif`;
      this.label(name, left, top - 5 * pixel, colour);
    }
    if ((hint.radius ?? 6) > 6.5) this.dots(hint, colour);
    else for (const [points, sign] of [[hint.include, "+"], [hint.exclude, "−"]] as const) points?.forEach((at) => this.sign(at, sign, colour));
    context.globalAlpha = 1;
  }

  /** A brush's stroke: only where it went, since its dots overlap. */
  private dots(hint: PageHint, colour: number[]): void {
    const { context } = this;
    for (const [points, shade] of [[hint.include, `rgb(${colour.join()})`], [hint.exclude, "#101010"]] as const) {
      if (!points?.length) continue;
      context.strokeStyle = shade;
      context.lineWidth = (2 * devicePixelRatio) / this.view.zoom;
      context.setLineDash([4 * context.lineWidth, 3 * context.lineWidth]);
      context.beginPath();
      points.forEach(([x, y], at) => (at ? context.lineTo(x, y) : context.moveTo(x, y)));
      context.stroke();
      context.setLineDash([]);
    }
  }

  private sign([x, y]: Point, sign: "+" | "−", colour: number[]): void {
    const { context } = this;
    const pixel = devicePixelRatio / this.view.zoom;
    context.beginPath();
    context.arc(x, y, 8 * pixel, 0, 2 * Math.PI);
    context.fillStyle = sign === "+" ? `rgb(${colour.join()})` : "#101010";
    context.fill();
    context.lineWidth = 1.5 * pixel;
    context.strokeStyle = sign === "+" ? "#101010" : `rgb(${colour.join()})`;
    context.stroke();
    context.lineWidth = 2 * pixel;
    context.beginPath();
    context.moveTo(x - 4 * pixel, y);
    context.lineTo(x + 4 * pixel, y);
    if (sign === "+") {
      context.moveTo(x, y - 4 * pixel);
      context.lineTo(x, y + 4 * pixel);
    }
    context.stroke();
  }

  private label(text: string, x: number, y: number, colour: number[]): void {
    this.context.lineWidth = (3 * devicePixelRatio) / this.view.zoom;
    this.context.strokeStyle = "#000c";
    this.context.strokeText(text, x, y);
    this.context.fillStyle = `rgb(${colour.join()})`;
    this.context.fillText(text, x, y);
  }

  private outline(colour: number[], path: () => void): void {
    const { context } = this;
    const pixel = devicePixelRatio / this.view.zoom;
    for (const [style, width] of [["#000a", 4], [`rgb(${colour.join()})`, 2]] as const) {
      context.strokeStyle = style;
      context.lineWidth = width * pixel;
      context.beginPath();
      path();
      context.stroke();
    }
  }

  private drawDrawing(): void {
    const { drawing, cursor, context } = this;
    const index = this.objects.findIndex(({ name }) => name === this.chosen);
    const { colour } = tintOf("", index < 0 ? this.objects.length : index);
    if (drawing?.box) {
      const [[x0, y0], [x1, y1]] = drawing.box;
      this.outline(colour, () => context.rect(Math.min(x0, x1), Math.min(y0, y1), Math.abs(x1 - x0), Math.abs(y1 - y0)));
    }
    if (drawing?.dots) {
      context.fillStyle = drawing.isInside ? `rgba(${colour.join()}, 0.5)` : "#000a";
      context.beginPath();
      for (const [x, y] of drawing.dots) {
        context.moveTo(x + drawing.radius, y);
        context.arc(x, y, drawing.radius, 0, 2 * Math.PI);
      }
      context.fill();
    }
    if (cursor) this.outline([255, 255, 255], () => context.arc(cursor.at[0], cursor.at[1], cursor.radius, 0, 2 * Math.PI));
  }
}
