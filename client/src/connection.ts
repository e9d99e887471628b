/** The web socket of an editing session: requests, and the session's state after every change. */

import { Link, type Told } from "./link";
import type { Answer, Job, Request, State } from "./protocol";

export class Connection extends Link<Request, Answer> {
  onState: (state: State) => void = () => {};
  onJob: (job: Job) => void = () => {};

  protected hear(told: Told<Answer>): void {
    if (told.type === "state") this.onState(told);
    else this.onJob(told);
  }
}
