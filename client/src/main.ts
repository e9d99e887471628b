import "./style.css";
import "./footage/footage.css";
import { App } from "./app";
import { FootageApp, type FootageFacts } from "./footage/app";
import { GraphicsError } from "./gl/context";
import type { Facts } from "./session";
import { h } from "./ui/dom";

declare global {
  interface Window {
    layerloom?: App | FootageApp;
  }
}

async function start(): Promise<void> {
  const root = document.getElementById("app")!;
  try {
    const answer = await fetch("/api/project");
    if (!answer.ok) throw new Error(`The program answered ${answer.status}.`);
    const facts = (await answer.json()) as Facts | FootageFacts;
    window.layerloom = "footage" in facts ? new FootageApp(root, facts) : new App(root, facts);
  } catch (error) {
    const words = error instanceof Error ? error.message : String(error);
    const advice = error instanceof GraphicsError ? " Another browser, or another graphics driver, may do." : "";
    root.replaceChildren(h("p", { role: "alert", class: "problem" }, words + advice));
  }
}

void start();
