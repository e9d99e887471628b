/** How a picture lies in a part of the page: zoom, and where its corner is. Page pixels are the screen's own. */

import type { Point } from "./maps";

export class View {
  zoom = 1;
  origin: Point = [0, 0];
  private isFitted = true;

  constructor(
    public size: Point,
    public pane: { left: number; top: number; width: number; height: number } = { left: 0, top: 0, width: 1, height: 1 },
  ) {}

  setPane(left: number, top: number, width: number, height: number): void {
    this.pane = { left, top, width, height };
    if (this.isFitted) this.fit();
  }

  fit(): void {
    const margin = 0.98;
    this.zoom = margin * Math.min(this.pane.width / this.size[0], this.pane.height / this.size[1]);
    this.origin = [
      (this.pane.width - this.size[0] * this.zoom) / 2,
      (this.pane.height - this.size[1] * this.zoom) / 2,
    ];
    this.isFitted = true;
  }

  /** A point of the page to one of the picture. */
  toPicture([x, y]: Point): Point {
    return [
      (x - this.pane.left - this.origin[0]) / this.zoom,
      (y - this.pane.top - this.origin[1]) / this.zoom,
    ];
  }

  toPage([x, y]: Point): Point {
    return [
      x * this.zoom + this.origin[0] + this.pane.left,
      y * this.zoom + this.origin[1] + this.pane.top,
    ];
  }

  contains([x, y]: Point): boolean {
    const { left, top, width, height } = this.pane;
    return x >= left && y >= top && x < left + width && y < top + height;
  }

  /** The point under the pointer stays under it. */
  zoomAt(page: Point, factor: number): void {
    const [x, y] = this.toPicture(page);
    this.zoom = Math.min(Math.max(this.zoom * factor, 0.05), 64);
    this.origin = [page[0] - this.pane.left - x * this.zoom, page[1] - this.pane.top - y * this.zoom];
    this.isFitted = false;
  }

  pan(dx: number, dy: number): void {
    this.origin = [this.origin[0] + dx, this.origin[1] + dy];
    this.isFitted = false;
  }

  is(point: Point): boolean {
    return point[0] >= 0 && point[1] >= 0 && point[0] < this.size[0] && point[1] < this.size[1];
  }
}
