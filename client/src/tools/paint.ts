/** Brush, eraser and clone: the pointer's way over a frame or a canvas becomes dabs on a layer's painting. */

import type { Brush, Painting } from "../gl/painting";
import { sharesAt, uvAt, type FrameMaps, type Jacobian, type Point } from "../maps";
import type { Session } from "../session";
import { Smoothing, Spacing, type PenPoint } from "../stroke";

export interface BrushSettings {
  radius: number;
  hardness: number;
  opacity: number;
  colour: [number, number, number];
  smoothing: number;
  /** Whether the pen's pressure changes the size. */
  pressureSize: boolean;
}

export type Kind = "paint" | "erase" | "clone";

const STRAIGHT: Jacobian = [1, 0, 0, 1];

/** One stroke, from pointer down to up. */
export class Stroke {
  private readonly painting: Painting;
  private readonly spacing: Spacing;
  private readonly smoothing: Smoothing;
  private readonly light: WebGLTexture | null;

  /** maps: of the frame that is painted on; null where the canvas itself is. */
  constructor(
    private readonly session: Session,
    readonly layer: number,
    private readonly maps: FrameMaps | null,
    private readonly settings: BrushSettings,
    private readonly kind: Kind,
    private readonly cloneShift: Point = [0, 0],
  ) {
    this.painting = session.painting(layer);
    this.painting.begin();
    this.spacing = new Spacing((pressure) => Math.max(0.5, this.radiusOf(pressure) * 0.18));
    this.smoothing = new Smoothing(settings.smoothing);
    this.light = maps ? session.compositor.lightTexture(maps, layer) : null;
  }

  /** The pointer's next points. */
  move(points: PenPoint[]): void {
    for (const point of points) this.spacing.to(this.smoothing.next(point)).forEach((dab) => this.dab(dab));
    this.painting.show(this.brush(), this.kind === "paint" ? this.light : null, this.session.compositor.texels[this.layer]!);
  }

  /** Keeps the stroke; the promise ends when it is on the disk. */
  end(): Promise<void> {
    return this.session.sendStroke(this.layer, this.painting.end());
  }

  cancel(): void {
    this.painting.cancel();
  }

  private dab({ at, pressure }: PenPoint): void {
    const { facts } = this.session;
    const found = this.maps
      ? uvAt(this.maps.layers[this.layer], [facts.width, facts.height], at)
      : { uv: at, jacobian: STRAIGHT };
    this.painting.dab(found.uv, found.jacobian, this.radiusOf(pressure), this.settings.hardness, 1);
  }

  private radiusOf(pressure: number): number {
    return this.settings.radius * (this.settings.pressureSize ? 0.15 + 0.85 * pressure : 1);
  }

  private brush(): Brush {
    const { radius, hardness, opacity, colour } = this.settings;
    return { radius, hardness, opacity, colour, kind: this.kind, cloneShift: this.cloneShift };
  }
}

/** The layer under a point of the frame: the one with the largest share there. */
export function layerUnder(maps: FrameMaps, size: Point, at: Point): number {
  const shares = sharesAt(maps, size, at);
  return shares.indexOf(Math.max(...shares));
}
