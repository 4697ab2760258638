import pc from 'picocolors';
import { describe, expect, test } from 'vitest';
import { coloursOf, printJson } from '../../src/cli/terminal/io.ts';
import { progressOn } from '../../src/cli/terminal/progress.ts';
import { drawEvidence, drawTrace } from '../../src/cli/terminal/trace-drawing.ts';
import { bar, formatBytes, formatCount, formatMs } from '../../src/measure/format.ts';
import { Collected } from './helpers.ts';

const plain = pc.createColors(false);

describe('drawTrace', () => {
  test('when a signal rises from left to right then so do the dots', () => {
    const ramp = Float64Array.from({ length: 8 }, (_, i) => i);
    // 7 columns of margin and 2 x 4 characters: 4 dot columns and 16 dot rows.
    const lines = drawTrace(ramp, 8, 9, plain);
    expect(lines).toHaveLength(4);
    expect(lines[0]).toMatch(/^ {8}[\u2801-\u28ff]$/);
    expect(lines[3]).toMatch(/^ {3}0 s [\u2801-\u28ff]$/);
  });

  test.each([40, 60, 80])('when there are %i columns then no line is longer', (width) => {
    const wave = Float64Array.from({ length: 4096 }, (_, i) => Math.sin(i / 20));
    const evidence = { label: 'A', strength: Array.from({ length: 25 }, (_, i) => i / 24) };
    const lines = drawTrace(wave, 30, width, plain, evidence);
    expect(lines).toHaveLength(3 * 5);
    for (const line of lines) expect(line.length).toBeLessThanOrEqual(width);
    expect(lines.filter((line) => line.includes(' s '))).toHaveLength(3);
  });

  test('when the signal is flat then it is a line', () => {
    const lines = drawTrace(new Float64Array(100), 10, 40, plain);
    expect(lines.filter((line) => /[\u2801-\u28ff]/.test(line))).toHaveLength(1);
  });
});

describe('drawEvidence', () => {
  test('when windows get stronger then blocks get taller', () => {
    expect(drawEvidence({ label: '', strength: [0, 0.25, 0.5, 0.75, 1] }, 0, 1, 5)).toBe(' ▂▄▆█');
    expect(drawEvidence({ label: '', strength: [0, 1] }, 0, 0.5, 4)).toBe('');
    expect(drawEvidence({ label: '', strength: [0, 1] }, 0.5, 1, 4)).toBe('████');
  });
});

describe('numbers in words', () => {
  test.each([
    [0.04, '0.0 ms'],
    [9.96, '10 ms'],
    [320.4, '320 ms'],
    [999.9, '1.0 s'],
    [12_340, '12.3 s'],
    [125_000, '2 min 5 s'],
  ])('when %d ms are written then it is %s', (ms, text) => expect(formatMs(ms)).toBe(text));

  test.each([
    [12, '12 B'],
    [61_660, '61.7 kB'],
    [999_900, '1.00 MB'],
    [57_962_175, '58.0 MB'],
    [4e9, '4.00 GB'],
  ])('when %d bytes are written then it is %s', (bytes, text) => expect(formatBytes(bytes)).toBe(text));

  test('when thousands are written then they are grouped', () => expect(formatCount(12112)).toBe('12,112'));

  test.each([
    [0, ''],
    [0.5, '██'],
    [1, '████'],
    [2, '████'],
    [1 / 8, '▌'],
  ])('when a share of %d is drawn on 4 columns then it is "%s"', (share, text) => {
    expect(bar(share, 4)).toBe(text);
  });
});

describe('printJson', () => {
  test('when lists of numbers are printed then they take one line and strings stay as they are', () => {
    const io = { stdout: new Collected(), stderr: new Collected() };
    const value = {
      map: [
        [1, -2.5],
        [3e-7, 4],
      ],
      text: '[\n 1,\n 2 ]',
      none: [],
      names: ['a', '1'],
    };
    printJson(io, value);
    expect(JSON.parse(io.stdout.text)).toEqual(value);
    expect(io.stdout.text).toContain('[1, -2.5]');
  });
});

describe('progress', () => {
  test('when nobody watches a terminal then the work is named on a line', () => {
    const io = { stdout: new Collected(), stderr: new Collected() };
    using task = progressOn(io)('making keys', { total: 3, estimateMs: 2000 });
    task.update(3);
    expect(io.stderr.text).toBe('making keys (about 2.0 s)\n');
    expect(io.stdout.text).toBe('');
  });

  test('when --json is given and nobody watches then there is nothing', () => {
    const io = { stdout: new Collected(), stderr: new Collected() };
    using task = progressOn(io, true)('making keys', { total: 3 });
    task.update(3);
    expect(io.stderr.text).toBe('');
  });
});

describe('coloursOf', () => {
  test('when the output is no terminal then there are no colours', () => {
    expect(coloursOf(new Collected()).red('x')).toBe('x');
  });
});
