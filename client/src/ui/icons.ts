/** Signs on buttons, as drawings: fonts do not have them everywhere. */

const PATHS = {
  brush: "M4 20c3 0 4-1 4-3a2.5 2.5 0 0 0-5 0c0 1.5-.5 2-1 2.500zM9 15 20 4l-1-1L8 13z",
  eraser: "M8 20h12M6 18l-3-3 10-10 6 6-8 8H7zM9 9l6 6",
  clone: "M8 8h12v12H8zM4 16V4h12",
  fill: "M4 11 11 4l7 7-7 7zM11 4 8 1M20 14c2 3 2 5 0 5s-2-2 0-5z",
  place: "M5 5h14v14H5zM3 3h4v4H3zM17 3h4v4h-4zM3 17h4v4H3zM17 17h4v4h-4z",
  box: "M4 4h5M15 4h5v5M20 15v5h-5M9 20H4v-5M4 9V4",
  point: "M12 5v14M5 12h14M12 2a10 10 0 1 0 .01 0",
  hand: "M12 2v20M2 12h20M9 5l3-3 3 3M9 19l3 3 3-3M5 9l-3 3 3 3M19 9l3 3-3 3",
  play: "M7 4v16l13-8z",
  pause: "M7 4h4v16H7zM14 4h4v16h-4z",
  first: "M6 4v16M20 4v16L9 12z",
  last: "M18 4v16M4 4v16l11-8z",
  back: "M17 4v16L6 12z",
  on: "M7 4v16l11-8z",
  loop: "M4 12a8 8 0 0 1 14-5l2 2M20 4v5h-5M20 12a8 8 0 0 1-14 5l-2-2M4 20v-5h5",
  begin: "M9 4H5v16h4",
  end: "M15 4h4v16h-4",
} as const;

export type Sign = keyof typeof PATHS;

export function icon(sign: Sign): SVGSVGElement {
  const drawing = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  drawing.setAttribute("viewBox", "0 0 24 24");
  drawing.setAttribute("class", "icon");
  drawing.setAttribute("aria-hidden", "true");
  const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
  path.setAttribute("d", PATHS[sign]);
  drawing.append(path);
  return drawing;
}
