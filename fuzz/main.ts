/**
 * Attacks on everything that comes from outside, thought out and at random: what is refused by which rule,
 * what is accepted and why that is right.
 *
 *   npm run fuzz -- [--class requests|keys|manifests|replies|models|ecg] [--count 10000] [--seed 1]
 *     [--only INDEX] [--json FILE]
 *
 * `--count` is the number of cases of all classes together, which have shares of it (classes.ts), or of the
 * one class. A case depends on the seed, its class and its number alone: `--class C --seed S --only INDEX`
 * runs it again. The exit code is 1 if any rule is broken.
 */
import { writeFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { formatCount, formatMs } from '../src/measure/format.ts';
import { machine } from '../src/measure/machine.ts';
import { CLASSES } from './classes.ts';
import { report } from './report.ts';
import type { RunResult } from './run.ts';
import { watch } from './watch.ts';

const LINE_EVERY_MS = 5000;

const { values } = parseArgs({
  options: {
    class: { type: 'string', multiple: true },
    count: { type: 'string', default: '10000' },
    seed: { type: 'string', default: '1' },
    only: { type: 'string' },
    json: { type: 'string' },
  },
});
const seed = whole('seed', values.seed);
const names = values.class ?? Object.keys(CLASSES);
const unknown = names.find((name) => !(name in CLASSES));
if (unknown !== undefined) stop(`there is no class ${unknown}: ${Object.keys(CLASSES).join(', ')}`);
if (values.only !== undefined && names.length !== 1) stop('--only needs one --class');

console.error(`seed ${seed}`);
const started = performance.now();
const results: Record<string, RunResult> = {};
for (const name of names) results[name] = await runClass(name);
const ms = Math.round(performance.now() - started);

console.log(report(results));
const all = Object.values(results);
const cases = all.flatMap(({ formats }) => Object.values(formats)).reduce((sum, row) => sum + row.cases, 0);
const broken = all.flatMap(({ violations }) => violations).reduce((sum, { count }) => sum + count, 0);
console.log(
  `${formatCount(cases)} cases in ${formatMs(ms)}, seed ${seed}: ${broken === 0 ? 'no rule broken' : `${formatCount(broken)} violations`}`,
);
if (values.json !== undefined) {
  const command = `npm run fuzz -- ${process.argv
    .slice(2)
    .filter((_, i, args) => args[i] !== '--json' && args[i - 1] !== '--json')
    .join(' ')}`.trim();
  const content = { machine: machine(), command, seed, cases, violations: broken, ms, classes: results };
  writeFileSync(values.json, `${JSON.stringify(content, null, 2)}\n`);
}
process.exitCode = broken === 0 ? 0 : 1;

async function runClass(name: string): Promise<RunResult> {
  const share =
    names.length === 1 ? 1 : CLASSES[name].share / names.reduce((sum, n) => sum + CLASSES[n].share, 0);
  const count = Math.max(1, Math.round(whole('count', values.count) * share));
  const only = values.only === undefined ? null : whole('only', values.only);
  const [from, to] = only === null ? [0, count] : [only, only + 1];
  let last = performance.now();
  return watch({ name, seed, from, to }, (done) => {
    if (performance.now() - last < LINE_EVERY_MS) return;
    last = performance.now();
    console.error(`${name}: ${formatCount(done)} of ${formatCount(to - from)}`);
  });
}

function whole(name: string, text: string): number {
  const number = Number(text);
  if (!Number.isSafeInteger(number) || number < 0) stop(`--${name}: expected a whole number, got ${text}`);
  return number;
}

function stop(problem: string): never {
  console.error(problem);
  process.exit(2);
}
