import { copyFile, mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { confusionChart } from '../../src/charts/confusion.ts';
import { profileChart } from '../../src/charts/profile.ts';
import { drawSvg } from '../../src/charts/svg.ts';
import { runCli } from '../../src/cli/program.ts';
import { reportError } from '../../src/cli/terminal/errors.ts';
import { coloursOf, jsonText, printLines, warn } from '../../src/cli/terminal/io.ts';
import { progressOn } from '../../src/cli/terminal/progress.ts';
import { heading, table, titledTable } from '../../src/cli/terminal/table.ts';
import { BlindbeatError } from '../../src/errors.ts';
import { summarise } from '../../src/evaluation/summary.ts';
import { blindbeat, Collected, saveSmallModel, temporaryFolder } from './helpers.ts';

/** What a name may hold and a terminal must not get, with what it would do. */
const NASTY: [string, string][] = [
  ['an escape sequence', '\u001b[2J'],
  ['a colour', '\u001b[32m'],
  ['a colour of two numbers', '\u001b[1;31m'],
  ['a colour with a guessed mark', '\u001b[32;1234;5678m'],
  ['a link', '\u001b]8;;http://x.example\u0007'],
  ['a C1 sequence', '\u009b2J'],
  ['a C1 command', '\u0085'],
  ['a bell', '\u0007'],
  ['a backspace', '\b'],
  ['a carriage return', '\r'],
  ['a line break', '\n'],
  ['a tab', '\t'],
  ['a delete', '\u007f'],
  ['a right-to-left override', '\u202e'],
  ['an isolate', '\u2066'],
  ['a mark of direction', '\u061c'],
  ['a zero-width blank', '\u200b'],
  ['a joiner', '\u200d'],
  ['a byte order mark', '\ufeff'],
  ['a soft hyphen', '\u00ad'],
  ['a line separator', '\u2028'],
  ['a paragraph separator', '\u2029'],
  ['a filler', '\u3164'],
  ['a tag', '\u{e0041}'],
  ['half a character', '\ud83d'],
  ['a private character', '\ue000'],
  ['no character', '\uffff'],
  ['a null', '\0'],
];
const ALL = NASTY.map(([, text]) => text).join('x');
/** All but what is visible on its own; the line breaks between lines are ours. */
const INVISIBLE = /[^\p{L}\p{M}\p{N}\p{P}\p{S} \n]|\p{Default_Ignorable_Code_Point}/u;
// biome-ignore lint/suspicious/noControlCharactersInRegex: our own colours, and by what a progress bar moves
const OWN = /\u001b(?:\[(?:(?:1|2|22|31|32|33|36|39)m|1G|[02]K|\?7[hl])|[78])/g;

class Terminal extends Collected {
  override isTTY = true;
  cursorTo() {}
  clearLine() {}
  moveCursor() {}
}

function terminal() {
  return { stdout: new Terminal(), stderr: new Terminal() };
}

const folder = temporaryFolder();

describe.each(NASTY)('a text with %s', (_, text) => {
  const name = `a${text}b`;

  test('when it is printed in any way, then the terminal gets none of it', () => {
    for (const io of [terminal(), { stdout: new Collected(), stderr: new Collected() }]) {
      const colours = coloursOf(io.stdout);
      printLines(io.stdout, [name, colours.bold(name), colours.green(`x ${colours.bold(name)}`)]);
      printLines(io.stdout, [heading(name, name, colours)]);
      printLines(io.stdout, table([{ title: name }, { title: 'n' }], [[name, colours.cyan(name)]], colours));
      const inTable = { title: name, columns: [{ title: name }], rows: [[name]] };
      printLines(io.stdout, titledTable(inTable, colours));
      warn(io, [name]);
      reportError(new BlindbeatError('ECG', name), [], io);
      reportError(Object.assign(new Error(name), { stack: `Error\n${name}` }), [], io);
      using task = progressOn(io)(name, { total: 3 });
      task.update(2);
      const shown = (io.stdout.text + io.stderr.text).replaceAll(OWN, '');
      expect(shown.length).toBeGreaterThan(100);
      expect(INVISIBLE.exec(shown)).toBeNull();
      expect(io.stdout.text.trimEnd().split('\n')).toHaveLength(9);
    }
  });

  test('when it is in JSON, then it is escaped and comes back as it was', () => {
    const json = jsonText({ [name]: [name], numbers: [1, 2, 3] });
    expect(INVISIBLE.exec(json)).toBeNull();
    expect(JSON.parse(json)).toEqual({ [name]: [name], numbers: [1, 2, 3] });
    expect(json).toContain('[1, 2, 3]');
  });

  test('when it is in a cell, then the columns beside it stay where they are', () => {
    const colours = coloursOf(new Terminal());
    const columns = [{ title: 'class' }, { title: 'score', align: 'right' as const }];
    const rows = [
      [name, '1.00'],
      ['plain', colours.bold('-10.00')],
    ];
    const out = new Terminal();
    printLines(out, table(columns, rows, colours));
    const lines = out.text.replaceAll(OWN, '').trimEnd().split('\n');
    expect(lines.map((line) => line.length)).toEqual(Array(3).fill(lines[0].length));
  });
});

test('when a text has letters and signs of any language, then they are printed as they are', () => {
  const out = new Collected();
  const text = 'Herz ♥ é e\u0301 心電図 Ритм נורמלי ±32 → ━ ⣿ 86.1 %';
  printLines(out, [text]);
  expect(out.text).toBe(`${text}\n`);
});

test('when our colours are printed, then they are the usual codes and nest', () => {
  const out = new Terminal();
  const { bold, dim, red } = coloursOf(out);
  printLines(out, [bold(`a${red('b')}${dim('c')}d`)]);
  expect(out.text).toBe('\u001b[1ma\u001b[31mb\u001b[39m\u001b[2mc\u001b[22m\u001b[1md\u001b[22m\n');
});

describe('commands', () => {
  /** Everything that was printed, without our own colours and without what a progress bar moves by. */
  async function printedBy(...args: string[]): Promise<string> {
    const io = terminal();
    await runCli(args, io);
    const { stdout, stderr } = await blindbeat(...args);
    expect(stdout + stderr).not.toBe('');
    return (io.stdout.text + io.stderr.text + stdout + stderr).replaceAll(OWN, '');
  }

  test('when a model, an ECG or an argument has such names, then no command prints them', async () => {
    const model = await saveSmallModel(join(folder, 'model'), { channels: [4] });
    const json = JSON.parse(await readFile(join(model, 'model.json'), 'utf8'));
    const odd = join(folder, 'odd');
    await mkdir(odd);
    await copyFile(join(model, 'weights.bin'), join(odd, 'weights.bin'));
    const names = json.classes.map((c: string) => `${c}${ALL}`);
    await writeFile(join(odd, 'model.json'), JSON.stringify({ ...json, name: `m${ALL}`, classes: names }));
    const ecg = join(folder, `ecg ${ALL.replaceAll(/[\0/]/g, '')}.csv`);
    const rows = Array.from({ length: 9000 }, (_, i) => `${(i / 300).toFixed(5)},${Math.sin(i / 9)}`);
    await writeFile(ecg, `time [s],lead${ALL.replaceAll('\n', '')}\n${rows.join('\n')}\n`);
    const bad = join(folder, 'bad.hea');
    await writeFile(bad, `r${ALL.replaceAll(/\s/gu, '')} 1 300 10\nx${ALL} 80\n`);
    const commands = [
      ['plan', '--model', odd],
      ['plan', '--model', odd, '--json'],
      ['classify', '--model', odd, '--simulate'],
      ['classify', '--model', model, '--simulate', ecg],
      ['classify', '--model', model, '--simulate', '--json', ecg],
      ['classify', '--model', model, '--lead', ALL, ecg],
      ['classify', bad],
      ['classify', ALL],
      [`--${ALL}`],
      ['plan', '--outputs', ALL],
      ['approx', `x ${ALL}`, '--degree', '3', '--range', '-1,1'],
      ['infer', ALL, '--keys', ALL, '--out', join(folder, ALL.replaceAll('\0', ''))],
      ['evaluate', '--data', ALL],
    ];
    for (const args of commands)
      expect([args[0], INVISIBLE.exec(await printedBy(...args))]).toEqual([args[0], null]);
  });
});

describe('pictures', () => {
  test('when names are hostile, then they are text, and nothing of them is invisible', async () => {
    const name = `"/><script>alert(1)</script><a href='javascript:x'>&amp;${ALL}`;
    const outcomes = [0, 1].map((named, i) => ({ id: `${i}`, label: `${name}${named}`, named }));
    const classes = [`${name}0`, `${name}1`];
    const evaluation = summarise(outcomes, classes, 1);
    const title = { model: name, records: name };
    const layers = [{ name, ms: 1 }];
    for (const chart of [
      confusionChart(evaluation, classes, title),
      profileChart(layers, { model: name, how: name, ms: 2 }),
    ]) {
      const svg = await drawSvg(chart);
      expect(svg).toContain('&lt;script&gt;');
      expect(svg).not.toMatch(/<script|<a[ >]| on\w+="/);
      expect(INVISIBLE.exec(svg)).toBeNull();
    }
  });
});
