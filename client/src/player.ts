/** The clock: which frame is shown, at the film's own rate; frames that come too late are dropped and counted. */

export class Player {
  frame = 0;
  isPlaying = false;
  loops = true;
  dropped = 0;
  /** First and last frame that playing goes through. */
  range: [number, number];
  /** Frames that were drawn in the last second. */
  rate = 0;
  onFrame: (frame: number) => void = () => {};
  private startedAt = 0;
  private startedFrom = 0;
  private drawn: number[] = [];

  /** seconds: when each frame is shown. now: a clock in seconds. */
  constructor(
    private readonly seconds: number[],
    private readonly fps: number,
    private readonly now: () => number = () => performance.now() / 1000,
  ) {
    this.range = [0, seconds.length - 1];
  }

  play(): void {
    if (this.isPlaying) return;
    if (this.frame >= this.range[1] || this.frame < this.range[0]) this.frame = this.range[0];
    this.isPlaying = true;
    this.dropped = 0;
    this.startedAt = this.now();
    this.startedFrom = this.frame;
  }

  pause(): void {
    this.isPlaying = false;
    this.rate = 0;
    this.drawn = [];
  }

  seek(frame: number): void {
    const held = Math.min(Math.max(Math.round(frame), 0), this.seconds.length - 1);
    this.startedAt = this.now();
    this.startedFrom = held;
    if (held === this.frame) return;
    this.frame = held;
    this.onFrame(held);
  }

  /** What is to be shown now; called once for each picture of the screen. */
  tick(): void {
    if (!this.isPlaying) return;
    const due = this.due();
    if (due === this.frame) return;
    if (due > this.frame + 1) this.dropped += due - this.frame - 1;
    this.frame = due;
    this.count();
    this.onFrame(due);
  }

  /** The frame that the clock has come to; past the end it starts anew, or stops. */
  private due(): number {
    const [first, last] = this.range;
    const time = this.seconds[this.startedFrom] + this.now() - this.startedAt;
    const end = this.seconds[last] + 1 / this.fps;
    if (time >= end) {
      if (!this.loops) {
        this.pause();
        return last;
      }
      this.startedAt += end - this.seconds[this.startedFrom];
      this.startedFrom = first;
      return first;
    }
    let frame = this.startedFrom;
    while (frame < last && this.seconds[frame + 1] <= time + 1e-6) frame++;
    return frame;
  }

  private count(): void {
    const now = this.now();
    this.drawn = [...this.drawn.filter((time) => time > now - 1), now];
    this.rate = this.drawn.length;
  }
}
