import type { TopLevelSpec } from 'vega-lite';

/** A Vega-Lite chart as the text of a self-contained SVG file, on a white background. */
export async function drawSvg(spec: TopLevelSpec): Promise<string> {
  // Loaded here: half a second that a command without a picture should not pay.
  const [{ compile }, { View, parse }] = await Promise.all([import('vega-lite'), import('vega')]);
  const view = new View(parse(compile({ background: 'white', ...spec }).spec), { renderer: 'none' });
  try {
    return `${await view.toSVG()}\n`;
  } finally {
    view.finalize();
  }
}
