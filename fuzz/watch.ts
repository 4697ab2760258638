import { fork } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { FormatResult, RunOptions, RunResult } from './run.ts';

/** A case that takes longer is ended with its process. */
const HANG_MS = 5000;
const LOOK_EVERY_MS = 100;
/** Opening a class may take longer than a case. */
const START_MS = 60_000;
const CHILD = join(import.meta.dirname, 'child.ts');

type Message = Progress | { result: RunResult };
type Range = Omit<RunOptions, 'note'>;

/** What the first cases of a process gave. */
interface Progress {
  done: number;
  soFar: RunResult;
}

/** How a process ended before its cases did. */
interface Broken extends Progress {
  index: number;
  attack: string;
  what: string;
}

/**
 * Runs cases of a class in a process of their own. A case that hangs, takes all memory or ends the process is
 * a violation; the cases after it run in a new process.
 *
 * @param child what the process runs
 */
export async function watch(
  range: Range,
  onDone: (done: number) => void,
  { child = CHILD, hangMs = HANG_MS } = {},
): Promise<RunResult> {
  const total = nothing();
  let { from } = range;
  while (from < range.to) {
    const first = from;
    const found = await part({ ...range, from }, { child, hangMs }, (done) =>
      onDone(first - range.from + done),
    );
    if (!('what' in found)) {
      add(total, found);
      return total;
    }
    // What the lost process had not told yet runs again, without the case that broke it.
    add(total, found.soFar);
    const untold = { ...range, from: from + found.done, to: found.index };
    if (untold.from < untold.to) add(total, await watch(untold, () => {}, { child, hangMs }));
    const { index, attack, what } = found;
    total.violations.push({ format: 'the process', attack, what, count: 1, index });
    from = index + 1;
  }
  return total;
}

async function part(
  range: Range,
  { child, hangMs }: { child: string; hangMs: number },
  onDone: (done: number) => void,
): Promise<RunResult | Broken> {
  const folder = mkdtempSync(join(tmpdir(), 'blindbeat-fuzz-'));
  const note = join(folder, 'case');
  const forked = fork(child, [], {
    execArgv: ['--expose-gc'],
    serialization: 'advanced',
    stdio: ['ignore', 'ignore', 'pipe', 'ipc'],
  });
  let said = '';
  forked.stderr!.setEncoding('utf8').on('data', (text: string) => {
    said = (said + text).slice(-400);
  });
  let result: RunResult | null = null;
  let told: Progress = { done: 0, soFar: nothing() };
  let hung = false;
  let index = -1;
  let since = performance.now();
  const looking = setInterval(() => {
    const now = current(note).index;
    if (now !== index) [index, since] = [now, performance.now()];
    hung = performance.now() - since > (index < 0 ? START_MS : hangMs);
    if (hung) forked.kill('SIGKILL');
  }, LOOK_EVERY_MS);
  try {
    const code = await new Promise<number | null>((resolve) => {
      forked.on('message', (message: Message) => {
        if ('result' in message) result = message.result;
        else {
          told = message;
          onDone(message.done);
        }
      });
      forked.once('close', resolve);
      forked.send({ ...range, note } satisfies RunOptions);
    });
    if (result) return result;
    const what = hung
      ? `takes more than ${hangMs / 1000} s`
      : code === 99
        ? 'takes all memory'
        : `ends the process: ${said}`;
    const at = current(note);
    if (at.index < 0) throw new Error(`the process of ${range.name} does not begin: ${said}`);
    return { ...at, what, ...told };
  } finally {
    clearInterval(looking);
    rmSync(folder, { recursive: true });
  }
}

/** The case in work; -1 before the first. */
function current(note: string): { index: number; attack: string } {
  const [index = '', ...attack] = existsSync(note) ? readFileSync(note, 'utf8').split(' ') : [];
  return { index: index === '' ? -1 : Number(index), attack: attack.join(' ') };
}

function nothing(): RunResult {
  return { formats: {}, violations: [], controls: 0, memory: null };
}

/** Adds what a part of the cases gave to what the others did. */
function add(total: RunResult, part: RunResult): void {
  total.controls += part.controls;
  total.memory = part.memory ?? total.memory;
  for (const [name, row] of Object.entries(part.formats)) {
    const sum = total.formats[name];
    if (sum) addRow(sum, row);
    else total.formats[name] = row;
  }
  for (const found of part.violations) {
    const same = total.violations.find((v) => v.format === found.format && v.what === found.what);
    if (same) same.count += found.count;
    else total.violations.push(found);
  }
}

function addRow(sum: FormatResult, row: FormatResult): void {
  sum.cases += row.cases;
  sum.violations += row.violations;
  sum.uncaught += row.uncaught;
  if (row.slowestMs > sum.slowestMs) [sum.slowestMs, sum.slowest] = [row.slowestMs, row.slowest];
  for (const key of ['refused', 'accepted'] as const)
    for (const [name, count] of Object.entries(row[key])) sum[key][name] = (sum[key][name] ?? 0) + count;
}
