import type { TopLevelSpec } from 'vega-lite';
import { replaceInvisible } from '../schema.ts';

/** How the title of a chart looks, beside its text and subtitle. */
export const TITLE_STYLE = {
  anchor: 'start',
  fontSize: 15,
  subtitleFontSize: 11,
  subtitlePadding: 4,
  offset: 14,
} as const;

/** How the axes and frames of a chart of curves look. */
export const CURVE_STYLE = {
  axis: { labelFontSize: 11, titleFontSize: 11, gridColor: '#eceff3' },
  view: { stroke: '#d5dae0' },
} as const;

/**
 * A Vega-Lite chart as the text of a self-contained SVG file, on a white background. Names from outside are
 * text in it; what XML forbids in a text, or nobody would see, is replaced.
 */
export async function drawSvg(spec: TopLevelSpec): Promise<string> {
  // Loaded here: half a second that a command without a picture should not pay.
  const [{ compile }, { View, parse }] = await Promise.all([import('vega-lite'), import('vega')]);
  const view = new View(parse(compile({ background: 'white', ...spec }).spec), { renderer: 'none' });
  try {
    return `${replaceInvisible(await view.toSVG(), () => '\ufffd', '\n')}\n`;
  } finally {
    view.finalize();
  }
}
