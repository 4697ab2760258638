import { csvParse } from 'd3-dsv';
import { describe, expect, test } from 'vitest';
import { degreesHtml } from '../../../training/degrees/html.ts';
import { degreesCsv, degreesMarkdown } from '../../../training/degrees/report.ts';
import type { DegreeRow } from '../../../training/degrees/rows.ts';
import { tablesOf } from '../../../training/degrees/tables.ts';

const NO_PLAN = 'needs "17" levels, one | two,\nof <12>';
const ROWS: DegreeRow[] = [
  {
    mode: 'replace',
    method: 'minimax',
    degree: 3,
    range: [-7.84, 9.8],
    clear: {
      records: 8,
      cincScore: 1 / 3,
      ci95: [0.25, 0.4],
      accuracy: 0.5,
      f1: {},
      difference: { cincScore: -0.0625, ci95: [-0.125, 0.0005] },
      refused: 1,
      leftRange: 2,
      forwardDifference: 1e-6,
      epochs: 0,
      seconds: 1.6,
    },
  },
  { mode: 'finetune', method: 'minimax', degree: 16, problem: NO_PLAN },
];
const TEXTS = { title: 'T', method: ["`a < b`, it's *so*"], made: ['blindbeat <x>'] };

describe('the tables of a report', () => {
  test('when a cell lacks a part then it is not in the part`s table', () => {
    const [accuracy, problems, ...more] = tablesOf(ROWS);
    expect(more).toEqual([]);
    expect(accuracy.rows).toEqual([
      [
        'replace',
        'minimax',
        '3',
        '-7.8 to 9.8',
        '0.333',
        '0.250 to 0.400',
        '-0.063',
        '-0.125 to +0.001',
      ].concat('0.500', '1', '2', '0', '2'),
    ]);
    expect(accuracy.columns.slice(1, 3)).toEqual([
      { title: 'method', align: 'left' },
      { title: 'degree', align: 'right' },
    ]);
    expect(problems.title).toBe('What could not be done');
    expect(problems.rows).toEqual([['finetune', 'minimax', '16', NO_PLAN]]);
  });
});

describe('degreesCsv', () => {
  test('when a text has commas, quotes and line breaks then it is read back as it was', () => {
    const text = degreesCsv(ROWS);
    expect(text).toMatch(/^mode,method,degree,.*,problem\nreplace,minimax,3,0,-7.84,9.8,8,0.333333,/);
    expect(text).toMatch(/,"needs ""17"" levels, one \| two,\nof <12>"\n$/);
    expect(csvParse(text)[1]).toMatchObject({ mode: 'finetune', degree: '16', epochs: '', problem: NO_PLAN });
  });
});

describe('degreesMarkdown', () => {
  test('when a cell has a bar then it does not end the column', () => {
    expect(degreesMarkdown(ROWS, TEXTS, 'p.svg')).toContain('one \\| two');
  });
});

describe('degreesHtml', () => {
  const page = (remarks: string) => degreesHtml(ROWS, { ...TEXTS, remarks }, '<?xml version="1.0"?>\n<svg/>');

  test('when remarks have paragraphs, lists, bold and code then so has the page', () => {
    const html = page('Degree **4** & `a<b`\n\n- one\n  goes on\n- two\n');
    expect(html).toContain('<p>Degree <strong>4</strong> &amp; <code>a&lt;b</code></p>');
    expect(html).toMatch(/<ul>\n<li>one\n\s*goes on<\/li>\n<li>two<\/li>\n<\/ul>/);
  });

  test.each([
    '<script>alert(1)</script>',
    'in a line <img src=x> of text',
    '- <b>bold</b>',
    '<!-- hidden -->',
    '![a <picture>](https://example.org/p.png)',
  ])('when remarks are %s then the page shows it and takes nothing from outside', (remarks) => {
    const html = page(remarks);
    expect(html).not.toMatch(/<script|<img|<b>|<!--|src=(?!x&gt;)|example\.org/);
    expect(html).toMatch(/&lt;(script|img|b|!--|picture)/);
  });

  test('when the page is made then texts, tables and the picture are in it, escaped', () => {
    const html = page('');
    expect(html).toContain('<li><code>a &lt; b</code>, it&#39;s <em>so</em></li>');
    expect(html).toContain('<pre>blindbeat &lt;x&gt;</pre>');
    expect(html).toContain('<td class="text">finetune</td><td class="text">minimax</td><td>16</td>');
    expect(html).toContain('of &lt;12&gt;</td>');
    expect(html).toMatch(/^<svg\/>$/m);
  });
});
