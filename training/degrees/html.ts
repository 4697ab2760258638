import { Marked } from 'marked';
import { replaceInvisible } from '../../src/schema.ts';
import type { ReportTexts } from './report.ts';
import type { DegreeRow } from './rows.ts';
import { type Table, tablesOf } from './tables.ts';

/** The report as one HTML page without anything from outside; `svg` is the picture itself. */
export function degreesHtml(rows: DegreeRow[], texts: ReportTexts, svg: string): string {
  const body = [
    element('h1', escaped(texts.title)),
    ...(texts.remarks ? [MARKDOWN.parse(texts.remarks, { async: false }).trim()] : []),
    svg.replace(/^<\?xml[^>]*>\s*/, ''),
    ...tablesOf(rows).map(htmlTable),
    element('h2', 'How it was measured'),
    element('ul', texts.method.map((text) => element('li', inline(text))).join('\n')),
    element('pre', escaped(texts.made.join('\n'))),
  ];
  const page = `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>${escaped(texts.title)}</title>
<style>
${STYLE}
</style>
</head>
<body>
${body.join('\n')}
</body>
</html>
`;
  return replaceInvisible(page, () => '\ufffd', '\n\t');
}

const STYLE = `\
body { font: 15px/1.5 system-ui, sans-serif; color: #1f2933; max-width: 1280px; margin: 2rem auto; }
body { padding: 0 1rem; }
table { border-collapse: collapse; font-size: 13px; font-variant-numeric: tabular-nums; }
table { display: block; overflow-x: auto; }
th, td { padding: 0.2rem 0.6rem; text-align: right; border-bottom: 1px solid #e4e8ed; white-space: nowrap; }
th { color: #52606d; font-weight: 600; }
.text { text-align: left; }
svg { max-width: 100%; height: auto; }
pre { background: #f5f7f9; padding: 0.8rem; overflow-x: auto; }`;

/**
 * HTML in a text is shown, not followed, and pictures are named only: the page takes nothing from outside.
 */
const MARKDOWN = new Marked({
  tokenizer: { html: () => undefined, tag: () => undefined },
  renderer: { image: ({ text }) => escaped(text) },
});

function inline(text: string): string {
  return MARKDOWN.parseInline(text, { async: false });
}

function htmlTable({ title, columns, rows }: Table): string {
  const line = (name: 'th' | 'td', cells: string[]) => {
    const cell = (text: string, i: number) =>
      `<${name}${columns[i].align === 'left' ? ' class="text"' : ''}>${escaped(text)}</${name}>`;
    return element('tr', cells.map(cell).join(''));
  };
  const head = line(
    'th',
    columns.map((column) => column.title),
  );
  const body = rows.map((cells) => line('td', cells));
  return `${element('h2', escaped(title))}\n<table>\n${[head, ...body].join('\n')}\n</table>`;
}

function element(name: string, content: string): string {
  return `<${name}>${content}</${name}>`;
}

function escaped(text: string): string {
  return text
    .replaceAll('&', '&amp;')
    .replaceAll('<', '&lt;')
    .replaceAll('>', '&gt;')
    .replaceAll('"', '&quot;');
}
