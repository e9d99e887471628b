/** Frames around the playhead: maps and pictures, fetched and decoded in a worker, the nearest first, within a budget. */

import type { FrameMaps } from "./maps";

export interface Frame {
  number: number;
  maps: FrameMaps;
  picture: ImageBitmap | null;
  isExact: boolean;
  bytes: number;
}

/** `exact` asks for the picture alone, without loss: what is looked at for longer. */
export interface Request {
  number: number;
  exact: boolean;
}

export type Reply =
  | { number: number; maps: FrameMaps; picture: ImageBitmap | null }
  | { number: number; exact: ImageBitmap | null }
  | { number: number; error: string };

export class Frames {
  private readonly kept = new Map<number, Frame>();
  private readonly waiting = new Map<number, ((frame: Frame | null) => void)[]>();
  private readonly asked = new Set<number>();
  private playhead = 0;
  private bytes = 0;
  problem = "";
  /** Called when a frame's picture has become the source's own, without loss. */
  onExact: (number: number) => void = () => {};

  constructor(
    private readonly worker: Worker,
    private readonly count: number,
    readonly budget: number,
  ) {
    worker.onmessage = ({ data }: MessageEvent<Reply>) => this.take(data);
  }

  get usedBytes(): number {
    return this.bytes;
  }

  has(number: number): boolean {
    return this.kept.has(number);
  }

  peek(number: number): Frame | undefined {
    return this.kept.get(number);
  }

  /** A frame as soon as it is there; null if it cannot be had. */
  get(number: number): Promise<Frame | null> {
    this.moveTo(number);
    const frame = this.kept.get(number);
    if (frame) return Promise.resolve(frame);
    return new Promise((resolve) => {
      this.waiting.set(number, [...(this.waiting.get(number) ?? []), resolve]);
      this.ask(number);
    });
  }

  /** Replace a frame's picture by the source's own, without loss, if it is not that yet. */
  makeExact(number: number): void {
    const frame = this.kept.get(number);
    if (frame?.picture && !frame.isExact) this.worker.postMessage({ number, exact: true } satisfies Request);
  }

  /** Fetch what comes next, and let go of what is farthest. */
  moveTo(number: number): void {
    this.playhead = number;
    for (const next of this.wanted()) {
      if (this.asked.size >= 4) break;
      if (!this.kept.has(next)) this.ask(next);
    }
  }

  /** Frames in the order in which they are wanted: on from the playhead, a few behind it. */
  private wanted(): number[] {
    const ahead = Math.min(24, this.room());
    const found: number[] = [];
    for (let step = 0; step < ahead; step++) {
      found.push((this.playhead + step) % this.count);
      if (step < 4 && this.playhead - step - 1 >= 0) found.push(this.playhead - step - 1);
    }
    return found;
  }

  private room(): number {
    const typical = this.kept.size ? this.bytes / this.kept.size : 1;
    return Math.max(2, Math.floor(this.budget / typical) - 6);
  }

  private ask(number: number): void {
    if (this.asked.has(number)) return;
    this.asked.add(number);
    this.worker.postMessage({ number, exact: false } satisfies Request);
  }

  private take(reply: Reply): void {
    if ("exact" in reply) {
      this.takeExact(reply.number, reply.exact);
      return;
    }
    this.asked.delete(reply.number);
    const waiting = this.waiting.get(reply.number) ?? [];
    this.waiting.delete(reply.number);
    if ("error" in reply) {
      this.problem = reply.error;
      waiting.forEach((resolve) => resolve(null));
      return;
    }
    const { number, maps, picture } = reply;
    const bytes = maps.bytes + (picture ? 4 * picture.width * picture.height : 0);
    const frame = { number, maps, picture, isExact: false, bytes };
    this.kept.set(number, frame);
    this.bytes += bytes;
    waiting.forEach((resolve) => resolve(frame));
    this.shrink();
    this.moveTo(this.playhead);
  }

  private takeExact(number: number, picture: ImageBitmap | null): void {
    const frame = this.kept.get(number);
    if (!picture || !frame || frame.isExact) {
      picture?.close();
      return;
    }
    frame.picture?.close();
    frame.picture = picture;
    frame.isExact = true;
    this.onExact(number);
  }

  private shrink(): void {
    const distance = (number: number) => {
      const ahead = (number - this.playhead + this.count) % this.count;
      return Math.min(ahead, 4 * (this.count - ahead));
    };
    while (this.bytes > this.budget && this.kept.size > 2) {
      const farthest = [...this.kept.keys()].reduce((a, b) => (distance(a) >= distance(b) ? a : b));
      if (farthest === this.playhead) break;
      const frame = this.kept.get(farthest)!;
      frame.picture?.close();
      this.kept.delete(farthest);
      this.bytes -= frame.bytes;
    }
  }
}
