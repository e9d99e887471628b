/** A web socket: requests that are answered once they are on the disk, and what the program tells by itself. */

interface Done {
  type: "done";
  operation: string;
  revision: number;
}
interface Failed {
  type: "failed";
  operation: string;
  message: string;
}
type Unsent<Request> = Request extends { operation: string } ? Omit<Request, "operation"> : never;
export type Told<Answer> = Exclude<Answer, { type: "done" } | { type: "failed" }>;

export abstract class Link<Request extends { operation: string }, Answer extends { type: string }> {
  private socket: WebSocket | null = null;
  private readonly open = new Map<string, { resolve: (revision: number) => void; reject: (error: Error) => void }>();
  private counter = 0;
  private retries = 0;
  onLink: (isUp: boolean) => void = () => {};

  /** What the program tells by itself. */
  protected abstract hear(told: Told<Answer>): void;

  connect(): void {
    const socket = new WebSocket(`ws://${location.host}/api/session`);
    this.socket = socket;
    socket.onopen = () => {
      this.retries = 0;
      this.onLink(true);
    };
    socket.onmessage = ({ data }) => this.take(JSON.parse(data as string) as Answer | Done | Failed);
    socket.onclose = () => {
      this.onLink(false);
      this.open.forEach(({ reject }) => reject(new Error("The program does not answer.")));
      this.open.clear();
      setTimeout(() => this.connect(), Math.min(4000, 250 * 2 ** this.retries++));
    };
  }

  /** The revision once the request is kept. Rejects with the reason if it is refused. */
  send(request: Unsent<Request>): Promise<number> {
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

  private take(answer: Answer | Done | Failed): void {
    if (answer.type !== "done" && answer.type !== "failed") {
      this.hear(answer as Told<Answer>);
      return;
    }
    const { operation } = answer as Done | Failed;
    const waiting = this.open.get(operation);
    this.open.delete(operation);
    if (answer.type === "done") waiting?.resolve((answer as Done).revision);
    else waiting?.reject(new Error((answer as Failed).message));
  }
}
