import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { blindbeat, blindbeatJson, temporaryFolder } from './helpers.ts';

const folder = temporaryFolder();

describe('approx', () => {
  test.each([[['--range', '-4,4']], [['--range=-4,4']]])(
    'when it prints for people then curve, errors, cost and coefficients are there (%j)',
    async (range) => {
      const { code, stdout } = await blindbeat('approx', 'relu', '--degree', '7', ...range);
      expect(code).toBe(0);
      expect(stdout).toContain('relu by minimax, degree 7 on [-4, 4]');
      expect(stdout).toMatch(/largest error +0\.0918581 at/);
      expect(stdout).toMatch(/encrypted +3 levels, 3 multiplications/);
      expect(stdout).toMatch(/^ +1 +2\.000000000e\+0 +5\.000000000e-1$/m);
      expect(stdout).toMatch(/[\u2801-\u28ff]{8}/);
      for (const line of stdout.split('\n')) expect(line.length).toBeLessThanOrEqual(80);
    },
  );

  test('when it is a composite then the stages are shown', async () => {
    const { stdout } = await blindbeat(
      'approx',
      'relu',
      '--degree',
      '3,5',
      '--range',
      '-4,4',
      '--method',
      'composite',
    );
    expect(stdout).toMatch(/whole degree +16/);
    expect(stdout).toMatch(/stage 1 +stage 2/);
    for (const line of stdout.split('\n')) expect(line.length).toBeLessThanOrEqual(80);
  });

  test('when files are wanted then samples weigh, and picture and numbers are written', async () => {
    const samples = join(folder, 'samples.txt');
    writeFileSync(samples, '-2 -1.5\n-1, 0;0.5\n1 2 3\n');
    const svg = join(folder, 'curve.svg');
    const json = join(folder, 'curve.json');
    const { code, stdout } = await blindbeat(
      ...['approx', 'gelu', '--degree', '4', '--method', 'least-squares', '--samples', samples],
      ...['--svg', svg, '--json', json],
    );
    expect(code).toBe(0);
    expect(stdout).toContain(`written: ${svg}`);
    expect(readFileSync(svg, 'utf8')).toMatch(/^<svg[\s\S]*gelu by least-squares, degree 4/);
    const found = JSON.parse(readFileSync(json, 'utf8'));
    expect(found).toMatchObject({ activation: 'gelu', range: [-2, 3], degree: 4, scheme: { levels: 2 } });
  });

  test('when --json has no file then one object is printed', async () => {
    const { code, json } = await blindbeatJson('approx', 'tanh', '--degree', '3', '--range', '-2,2');
    expect(code).toBe(0);
    expect(json).toMatchObject({
      method: 'minimax',
      basis: 'chebyshev',
      scheme: { levels: 2, multiplications: 2 },
    });
    expect(json.coefficients).toHaveLength(4);
  });

  test('when it is an expression then terminal, picture and JSON show it', async () => {
    const text = 'x / (1 + exp(-1.702 x))';
    const [svg, json] = [join(folder, 'expression.svg'), join(folder, 'expression.json')];
    const { code, stdout } = await blindbeat(
      ...['approx', text, '--degree', '7', '--range', '-4,4', '--svg', svg, '--json', json],
    );
    expect(code).toBe(0);
    expect(stdout).toContain(`${text} by minimax, degree 7 on [-4, 4]`);
    expect(stdout).toMatch(/largest error +0\.0334643 at/);
    const picture = readFileSync(svg, 'utf8');
    expect(picture).toContain(`>${text} by minimax, degree 7<`);
    expect(picture).toContain(`>${text}<`); // the legend
    expect(picture).not.toMatch(/NaN|undefined/);
    expect(JSON.parse(readFileSync(json, 'utf8'))).toMatchObject({ activation: text, degree: 7 });
  });

  test('when it is a long expression then lines and titles have its beginning, and JSON all of it', async () => {
    const text = Array.from({ length: 20 }, (_, k) => `${k / 10} x^${k}`).join(' + ');
    const svg = join(folder, 'long.svg');
    const args = ['approx', text, '--degree', '12', '--range', '-1.25,1.25', '--method', 'least-squares'];
    const { stdout } = await blindbeat(...args, '--svg', svg);
    for (const line of stdout.split('\n')) expect(line.length).toBeLessThanOrEqual(80);
    expect(stdout).toMatch(/^ {2}0 x\^0 \+ 0\.1 x\^1 .*… by least-squares, degree 12 on \[-1\.25, 1\.25\]$/m);
    expect(readFileSync(svg, 'utf8')).toMatch(/>0 x\^0 \+ .{30,40}… by least-squares, degree 12</);
    expect((await blindbeatJson(...args)).json.activation).toBe(text);
  });

  test('when an expression begins with a minus then it goes after --', async () => {
    const { code, stdout } = await blindbeat(
      'approx',
      '--degree',
      '3',
      '--range',
      '-1,2',
      '--',
      '-x exp(-x)',
    );
    expect(code).toBe(0);
    expect(stdout).toContain('-x exp(-x) by minimax');
  });

  test('when an expression ends at an end of the range that floats do not hit then the curve is drawn', async () => {
    const { stdout } = await blindbeat('approx', 'sqrt(0.7 - x)', '--degree', '3', '--range', '-3,0.7');
    expect(stdout).not.toContain('NaN');
    expect(stdout).toMatch(/[\u2801-\u28ff]{8}/);
  });

  test('when help is asked for then it has an expression as an example', async () => {
    const { stdout } = await blindbeat('approx', '--help');
    expect(stdout).toContain('blindbeat approx "x / (1 + exp(-1.702 x))" --degree 7 --range -4,4');
  });

  test.each([
    [['rleu', '--degree', '3', '--range', '-1,1'], /Known are relu, leaky-relu/],
    [['x +', '--degree', '3', '--range', '-1,1'], /"x \+" cannot be read at character 4/],
    [['2 t', '--degree', '3', '--range', '-1,1'], /"t" in it: the only variable is x/],
    [['log(x)', '--degree', '3', '--range', '-1,1'], /NaN at -1, and no finite number as far as 0/],
    [['x = \u001b[31m', '--degree', '3', '--range', '-1,1'], /^error: "x = \?\[31m" has "=" as character 3/],
    [['relu', '--degree', '64', '--range', '-1,1'], /1 to 63/],
    [['relu', '--degree', '3', '--range', '1,-1'], /lower one/],
    [['relu', '--degree', '3', '--range', '1'], /two numbers/],
    [['relu', '--degree', '3'], /--range -4,4/],
    [['relu', '--degree', '3', '--range', '-1,1', '--method', 'hermite'], /deviation/],
    [['relu', '--degree', '3', '--range', '-1,1', '--mean', '1'], /needs a --deviation/],
    [['relu', '--degree', '3', '--samples', 'package.json'], /expected numbers .* as number 1/],
  ])('when the arguments are %j then the error says what to give', async (args, message) => {
    const { code, stderr } = await blindbeat('approx', ...args);
    expect(code).toBe(2);
    expect(stderr).toMatch(message);
  });

  test('when the samples are missing then the error names the file', async () => {
    const { code, stderr } = await blindbeat('approx', 'relu', '--degree', '3', '--samples', '/no/where');
    expect(code).toBe(8);
    expect(stderr).toContain('at /no/where: there is no such file');
  });
});
