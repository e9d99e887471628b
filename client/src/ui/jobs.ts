/** Long tasks of the program: what runs, how far it is, a stop, and what came of it. */

import type { Job, StartExport } from "../protocol";
import type { Session } from "../session";
import { ask } from "./add";
import { button, h } from "./dom";

const CODECS: [NonNullable<StartExport["codec"]>, string][] = [
  ["h264", "H.264 (.mp4)"],
  ["hevc", "HEVC (.mp4)"],
  ["prores", "ProRes 422 HQ (.mov)"],
  ["prores4444", "ProRes 4444 (.mov)"],
  ["vp9", "VP9 (.webm)"],
  ["ffv1", "FFV1, without loss (.mkv)"],
];

export class Jobs {
  readonly element = h("div", { "aria-live": "polite" });
  private readonly rows = new Map<string, HTMLElement>();

  constructor(private readonly session: Session) {
    session.connection.onJob = (job) => this.show(job);
  }

  /** Asks what is to be brought out, and begins. */
  ask(): void {
    const kind = h("select", { id: "export-kind" }, h("option", { value: "video" }, "The edited film"), h("option", { value: "layers" }, "Textures, mattes, ST maps, light (.zip)"));
    const codec = h("select", { id: "export-codec" }, ...CODECS.map(([name, words]) => h("option", { value: name }, words)));
    const content = [
      h("div", { class: "row" }, h("label", { for: "export-kind" }, "What"), kind),
      h("div", { class: "row" }, h("label", { for: "export-codec" }, "As"), codec),
    ];
    kind.addEventListener("change", () => (codec.disabled = kind.value !== "video"));
    void ask("Export", content, "Export", async () => {
      await this.session.request({
        type: "export",
        kind: kind.value as StartExport["kind"],
        codec: codec.value as StartExport["codec"],
      });
      return null;
    });
  }

  private show(job: Job): void {
    const row = this.rows.get(job.id) ?? h("div", { class: "row job", "data-state": job.state });
    this.rows.set(job.id, row);
    row.dataset.state = job.state;
    if (!row.isConnected) this.element.append(row);
    const dismiss = button("✕", "Take this line away", () => row.remove());
    if (job.state === "running") {
      const bar = h("progress", { max: 1, value: job.done, "aria-label": job.stage });
      const stop = button("Stop", `Stop: ${job.stage}`, () => void this.session.request({ type: "cancel", id: job.id }));
      row.replaceChildren(h("span", {}, job.stage), bar, h("span", { class: "quiet" }, `${Math.round(100 * job.done)} %`), stop);
    } else if (job.state === "ended") {
      row.replaceChildren(h("a", { href: job.result!, download: "", class: "grow" }, "Save the export"), dismiss);
    } else {
      const words = job.state === "cancelled" ? "Stopped." : `It failed: ${job.message}`;
      row.replaceChildren(h("span", { class: "grow", role: "alert" }, words), dismiss);
    }
  }
}
