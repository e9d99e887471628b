/** The web socket: requests that are answered once they are on the disk, and the session's state after every change. */

import type { Answer, Request, State, Job } from "./protocol";

type Unsent = Request extends infer One ? (One extends { operation: string } ? Omit<One, "operation"> : never) : never;

export class Connection {
  private socket: WebSocket | null = null;
  private readonly open = new Map<string, { resolve: (revision: number) => void; reject: (error: Error) => void }>();
  private counter = 0;
  private retries = 0;
  onState: (state: State) => void = () => {};
  onJob: (job: Job) => void = () => {};
  onLink: (isUp: boolean) => void = () => {};

  connect(): void {
    const socket = new WebSocket(`ws://${location.host}/api/session`);
    this.socket = socket;
    socket.onopen = () => {
      this.retries = 0;
      this.onLink(true);
    };
    socket.onmessage = ({ data }) => this.take(JSON.parse(data as string) as Answer);
    socket.onclose = () => {
      this.onLink(false);
      this.open.forEach(({ reject }) => reject(new Error("The program does not answer.")));
      this.open.clear();
      setTimeout(() => this.connect(), Math.min(4000, 250 * 2 ** this.retries++));
    };
  }

  /** The session's revision once the request is kept. Rejects with the reason if it is refused. */
  send(request: Unsent): Promise<number> {
    const operation = `${Date.now().toString(36)}-${this.counter++}`;
    return new Promise((resolve, reject) => {
      if (this.socket?.readyState !== WebSocket.OPEN) {
        reject(new Error("The program does not answer."));
        return;
      }
      this.open.set(operation, { resolve, reject });
      this.socket.send(JSON.stringify({ ...request, operation }));
    });
  }

  private take(answer: Answer): void {
    if (answer.type === "state") this.onState(answer);
    else if (answer.type === "job") this.onJob(answer);
    else {
      const waiting = this.open.get(answer.operation);
      this.open.delete(answer.operation);
      if (answer.type === "done") waiting?.resolve(answer.revision);
      else waiting?.reject(new Error(answer.message));
    }
  }
}
