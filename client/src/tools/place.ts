/** Placed pictures and words: a gizmo to move, scale and turn them, or a handle at each corner. */

import type { Connection } from "../connection";
import type { Point } from "../maps";
import type { At, PlacedEdit } from "../protocol";
import type { Session } from "../session";
import type { View } from "../view";

type Handle = "middle" | "turn" | 0 | 1 | 2 | 3;

const REACH = 12;
const TURN_DISTANCE = 64;

/** An edit that lies somewhere; none for all others. */
export function placeOf(placed: PlacedEdit | undefined): At | null {
  return placed && "place" in placed.edit ? placed.edit.place : null;
}

/** The place's handles in pixels of the page. */
export function handles(view: View, place: At): Map<Handle, Point> {
  const found = new Map<Handle, Point>();
  if (place.corners) {
    place.corners.forEach((corner, number) => found.set(number as Handle, view.toPage(corner)));
    found.set("middle", view.toPage(middleOf(place.corners)));
    return found;
  }
  const middle = view.toPage([place.x ?? 0, place.y ?? 0]);
  const angle = ((place.rotation_degrees ?? 0) * Math.PI) / 180;
  found.set("middle", middle);
  found.set("turn", [middle[0] + TURN_DISTANCE * Math.cos(angle), middle[1] + TURN_DISTANCE * Math.sin(angle)]);
  return found;
}

export function drawHandles(context: CanvasRenderingContext2D, view: View, place: At): void {
  const found = handles(view, place);
  const points = [...found.values()];
  const line = place.corners ? points.slice(0, 4) : points;
  context.strokeStyle = "#fff";
  context.lineWidth = 1.5;
  context.beginPath();
  line.forEach(([x, y], number) => (number ? context.lineTo(x, y) : context.moveTo(x, y)));
  if (place.corners) context.closePath();
  context.stroke();
  for (const [x, y] of points) {
    context.fillStyle = "#ffd166";
    context.strokeStyle = "#000";
    context.beginPath();
    context.arc(x, y, 6, 0, 2 * Math.PI);
    context.fill();
    context.stroke();
  }
}

/** The place after a handle has been dragged from one point of the picture to another. */
export function dragged(place: At, handle: Handle, view: View, start: Point, to: Point): At {
  if (typeof handle === "number") {
    const corners = place.corners!.map((corner, number) => (number === handle ? to : corner));
    return { ...place, corners: corners as At["corners"] };
  }
  if (handle === "middle") return moved(place, place.corners ? minus(to, middleOf(place.corners)) : minus(to, [place.x ?? 0, place.y ?? 0]));
  const middle: Point = [place.x ?? 0, place.y ?? 0];
  const length = (point: Point) => Math.hypot(point[0] - middle[0], point[1] - middle[1]);
  const angle = (Math.atan2(to[1] - middle[1], to[0] - middle[0]) * 180) / Math.PI;
  const grown = length(to) / Math.max(length(start), 1 / view.zoom);
  const height = Math.min(8192, Math.max(2, (place.height ?? 32) * grown));
  return { ...place, rotation_degrees: Math.round(angle * 10) / 10, height: Math.round(height * 10) / 10 };
}

/** The place so many pixels farther to the right and down. */
export function moved(place: At, by: Point): At {
  if (place.corners) {
    return { ...place, corners: place.corners.map(([x, y]) => [x + by[0], y + by[1]]) as At["corners"] };
  }
  return { ...place, x: (place.x ?? 0) + by[0], y: (place.y ?? 0) + by[1] };
}

function minus(point: Point, other: Point): Point {
  return [point[0] - other[0], point[1] - other[1]];
}

function middleOf(corners: Point[]): Point {
  const sum = corners.reduce(([x, y], [dx, dy]) => [x + dx, y + dy] as Point);
  return [sum[0] / corners.length, sum[1] / corners.length];
}

/** The handle under a point of the page. */
export function handleAt(view: View, place: At, page: Point): Handle | null {
  for (const [handle, [x, y]] of handles(view, place)) {
    if (Math.hypot(page[0] - x, page[1] - y) <= REACH) return handle;
  }
  return null;
}

/** Sends previews while something is dragged: one on its way at a time, and always the newest. */
export class Previews {
  private newest: PlacedEdit | null = null;
  private isOnItsWay = false;

  constructor(private readonly connection: Connection) {}

  show(placed: PlacedEdit): void {
    this.newest = placed;
    if (!this.isOnItsWay) void this.send();
  }

  private async send(): Promise<void> {
    this.isOnItsWay = true;
    while (this.newest) {
      const placed = this.newest;
      this.newest = null;
      await this.connection.send({ type: "preview", placed }).catch(() => undefined);
    }
    this.isOnItsWay = false;
  }

  async keep(session: Session, placed: PlacedEdit): Promise<void> {
    this.newest = null;
    await session.request({ type: "replace", placed });
  }
}
