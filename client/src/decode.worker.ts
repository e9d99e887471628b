/** Fetches and decodes frames beside the page, so that it never waits for them. */

import type { Reply, Request } from "./frames";
import { readMaps } from "./maps";

const scope = self as unknown as DedicatedWorkerGlobalScope;

scope.onmessage = async ({ data }: MessageEvent<Request>) => {
  const { number, exact } = data;
  try {
    if (exact) {
      const picture = await pictureOf(await fetch(`/api/source/${number}?lossless=true`));
      answer({ number, exact: picture }, picture);
      return;
    }
    const [maps, source] = await Promise.all([fetch(`/api/maps/${number}`), fetch(`/api/source/${number}`)]);
    if (!maps.ok) throw new Error(`frame ${number}: the program answered ${maps.status}`);
    const picture = await pictureOf(source);
    answer({ number, maps: readMaps(await maps.arrayBuffer()), picture }, picture);
  } catch (error) {
    answer({ number, error: error instanceof Error ? error.message : String(error) }, null);
  }
};

/** None where the project's source is gone. */
async function pictureOf(found: Response): Promise<ImageBitmap | null> {
  if (!found.ok) return null;
  return createImageBitmap(await found.blob(), { premultiplyAlpha: "none", colorSpaceConversion: "none" });
}

function answer(reply: Reply, picture: ImageBitmap | null): void {
  scope.postMessage(reply, picture ? [picture] : []);
}
