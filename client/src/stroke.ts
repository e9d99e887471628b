/** A stroke as small stages: points of the pointer are smoothed, then spaced evenly into dabs. */

import type { Point } from "./maps";

export interface PenPoint {
  at: Point;
  pressure: number;
}

/** Evenly spaced dabs along the pointer's way; what is left of one piece counts for the next. */
export class Spacing {
  private last: PenPoint | null = null;
  private left = 0;

  constructor(private readonly step: (pressure: number) => number) {}

  /** The dabs that a further point of the pointer adds. */
  to(point: PenPoint): PenPoint[] {
    if (!this.last) {
      this.last = point;
      this.left = this.step(point.pressure);
      return [point];
    }
    const from = this.last;
    const length = Math.hypot(point.at[0] - from.at[0], point.at[1] - from.at[1]);
    const dabs: PenPoint[] = [];
    let along = this.left;
    while (along <= length) {
      const share = length ? along / length : 0;
      const pressure = from.pressure + share * (point.pressure - from.pressure);
      dabs.push({
        at: [from.at[0] + share * (point.at[0] - from.at[0]), from.at[1] + share * (point.at[1] - from.at[1])],
        pressure,
      });
      along += this.step(pressure);
    }
    this.left = along - length;
    this.last = point;
    return dabs;
  }
}

/** Takes the tremble out of a hand: each point is led part of the way to the next. */
export class Smoothing {
  private at: PenPoint | null = null;

  /** strength: 0 follows the pointer exactly, towards 1 it lags. */
  constructor(private readonly strength: number) {}

  next(point: PenPoint): PenPoint {
    const kept = this.at ? this.strength : 0;
    const before = this.at ?? point;
    this.at = {
      at: [
        kept * before.at[0] + (1 - kept) * point.at[0],
        kept * before.at[1] + (1 - kept) * point.at[1],
      ],
      pressure: kept * before.pressure + (1 - kept) * point.pressure,
    };
    return this.at;
  }
}
