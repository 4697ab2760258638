import { closeSync, ftruncateSync, openSync, writeSync } from 'node:fs';
import { BlindbeatError } from '../src/errors.ts';
import { CLASSES } from './classes.ts';
import { caseRandom, type Resources, type Subject, type Trial } from './trial.ts';

/** A good input is tried again after so many cases. */
const CONTROL_EVERY = 50;
/** Milliseconds that a case may take: of the clock, or of the processor where the machine is busy. */
const SLOW_MS = 1000;
const LONGEST_MESSAGE = 20_000;
/** Bytes by which heap and buffers, and the process, may grow from a third of a run to its end. */
const HEAP_GROWTH = 48e6;
const PROCESS_GROWTH = 256e6;
/** What no message may hold; line ends aside. */
const RAW = /[^\p{L}\p{M}\p{N}\p{P}\p{S} \n]/u;

/** What became of the cases of one format. */
export interface FormatResult {
  cases: number;
  /** Refused cases by the rule that refused them: code and message, without its values. */
  refused: Record<string, number>;
  /** Accepted cases by why that is right. */
  accepted: Record<string, number>;
  violations: number;
  /** Of the violations, those that threw no BlindbeatError. */
  uncaught: number;
  slowestMs: number;
  slowest: string;
}

/** A rule that was broken, how often, and the first case that shows it. */
interface Violation {
  format: string;
  attack: string;
  what: string;
  count: number;
  index: number;
}

/** What must not grow, and what may a little. */
interface Memory extends Resources {
  heapBytes: number;
  rssBytes: number;
}

/** Cases `from` to `to` of a class. */
export interface RunOptions {
  name: string;
  seed: number;
  from: number;
  to: number;
  /** Where the number of the case in work is noted, for who watches. */
  note?: string;
}

/** What a run found. */
export interface RunResult {
  formats: Record<string, FormatResult>;
  violations: Violation[];
  controls: number;
  memory: { before: Memory; after: Memory } | null;
}

/** Runs cases of a class, one after the other. */
export async function run(
  { name, seed, from, to, note }: RunOptions,
  onCase: (index: number, soFar: RunResult) => void = () => {},
): Promise<RunResult> {
  const result: RunResult = { formats: {}, violations: [], controls: 0, memory: null };
  const file = note === undefined ? null : openSync(note, 'w');
  const subject = await CLASSES[name].open();
  let before: Memory | null = null;
  let clean = true;
  try {
    for (let index = from; index < to; index++) {
      if (file !== null) noteCase(file, `${index}`);
      const trial = await subject.trial(index, caseRandom(seed, name, index));
      if (file !== null) noteCase(file, `${index} ${trial.attack.slice(0, 200)}`);
      const broken = await tryCase(trial, index, result);
      if (broken) {
        await subject.renew();
        clean = false;
      }
      if (index % CONTROL_EVERY === CONTROL_EVERY - 1 || index === to - 1) {
        await control(subject, index, result);
        // A third of the cases warm everything up: compiled code, tables, pools of memory.
        if (before === null && index - from >= (to - from) / 3) before = memoryOf(subject);
      }
      onCase(index, result);
    }
    if (before !== null) {
      const after = memoryOf(subject);
      result.memory = { before, after };
      for (const what of growth(before, after, clean))
        violate(result, 'memory', { attack: 'all cases', what, index: to - 1 });
    }
  } finally {
    subject.close();
    if (file !== null) closeSync(file);
  }
  return result;
}

function noteCase(file: number, text: string): void {
  ftruncateSync(file);
  writeSync(file, text, 0);
}

/** Whether a case broke a rule. */
async function tryCase(trial: Trial, index: number, result: RunResult): Promise<boolean> {
  const { format, attack } = trial;
  result.formats[format] ??= {
    cases: 0,
    refused: {},
    accepted: {},
    violations: 0,
    uncaught: 0,
    slowestMs: 0,
    slowest: '',
  };
  const row = result.formats[format];
  row.cases++;
  const cpu = process.cpuUsage();
  const started = performance.now();
  const outcome = await settle(trial);
  const wall = performance.now() - started;
  const { user, system } = process.cpuUsage(cpu);
  const ms = wall > SLOW_MS ? Math.min(wall, (user + system) / 1000) : wall;
  if (ms > row.slowestMs) Object.assign(row, { slowestMs: ms, slowest: `${attack} (${index})` });
  const wrong = [
    ...(await judge(trial, outcome, row)),
    ...(ms > SLOW_MS ? ['takes more than a second'] : []),
  ];
  row.violations += wrong.length > 0 ? 1 : 0;
  for (const what of wrong) violate(result, format, { attack, what, index });
  return wrong.length > 0;
}

type Outcome = { value: unknown } | { error: unknown };

async function settle(trial: Trial): Promise<Outcome> {
  try {
    return { value: await trial.act() };
  } catch (error) {
    return { error };
  }
}

/** The rules that an outcome breaks; what is right is counted. */
async function judge(trial: Trial, outcome: Outcome, row: FormatResult): Promise<string[]> {
  const { must, why } = trial.expected();
  if ('value' in outcome) {
    if (must === 'refuse') return [`accepted, but: ${why}`];
    const wrong = (await trial.inspect?.(outcome.value)) ?? null;
    if (wrong !== null) return [`accepted, but: ${wrong}`];
    count(row.accepted, why);
    return [];
  }
  const { error } = outcome;
  if (!(error instanceof BlindbeatError)) {
    row.uncaught++;
    return [`uncaught ${nameOf(error)}`];
  }
  count(row.refused, ruleOf(error));
  const wrong: string[] = [];
  if (!trial.codes.includes(error.code)) wrong.push(`refused with ${ruleOf(error)}`);
  if (must === 'accept') wrong.push(`refused (${ruleOf(error)}), but: ${why}`);
  if (RAW.test(error.message)) wrong.push('a message that repeats what a terminal obeys');
  if (error.message.length > LONGEST_MESSAGE) wrong.push('a message without end');
  return wrong;
}

function nameOf(error: unknown): string {
  if (!(error instanceof Error)) return Object.prototype.toString.call(error);
  return `${error.name}: ${withoutValues(error.message)}`;
}

/** Code and message of a refusal, of a list its first entry, without what differs from case to case. */
function ruleOf({ code, message }: BlindbeatError): string {
  const lines = message.split('\n');
  const said = lines.length > 1 && /^ +- /.test(lines[1]) ? `${lines[0]} ${lines[1].trim()}` : lines[0];
  return `${code}: ${withoutValues(said)}`;
}

function withoutValues(message: string): string {
  return message
    .slice(0, 2000)
    .replace(/(?:\/[\w.-]+){2,}/g, '<path>')
    .replace(/"[^"]*"/g, '"..."')
    .replace(/\b[0-9a-f]{12,}\b/g, '#')
    .replace(/-?\d+(?:[.,]\d+)*(?:e[-+]?\d+)?/g, '#')
    .replace(/(plan|key pair|got|is) [^ ,:"#][^,:]*(?=[,:]| Hz)/g, '$1 ...')
    .replace(/\b[\w.\u{80}-\u{ffff}\\{}]+\.(csv|tsv|txt|dat|mat|hea)\b/gu, '<file>')
    .slice(0, 160);
}

async function control(subject: Subject, index: number, result: RunResult): Promise<void> {
  result.controls++;
  let wrong: string | null;
  try {
    wrong = await subject.control();
  } catch (error) {
    wrong = `a good one is refused: ${nameOf(error)}`;
  }
  if (wrong === null) return;
  violate(result, 'good ones in between', { attack: 'all before', what: wrong, index });
  await subject.renew();
}

function violate(result: RunResult, format: string, found: Omit<Violation, 'count' | 'format'>): void {
  const same = result.violations.find((v) => v.format === format && v.what === found.what);
  if (same) same.count++;
  else result.violations.push({ format, ...found, count: 1 });
}

function count(counts: Record<string, number>, name: string): void {
  counts[name] = (counts[name] ?? 0) + 1;
}

function memoryOf(subject: Subject): Memory {
  globalThis.gc?.();
  const { heapUsed, external, rss } = process.memoryUsage();
  return { ...subject.resources(), heapBytes: heapUsed + external, rssBytes: rss };
}

function growth(before: Memory, after: Memory, clean: boolean): string[] {
  const rules: [boolean, string][] = [
    // Where something broke a rule, its world was thrown away as it was.
    [
      clean && after.handles !== before.handles,
      `${after.handles - before.handles} SEAL objects more than before`,
    ],
    [clean && after.kernelBytes !== before.kernelBytes, "the kernels' memory has grown"],
    [clean && after.heapBytes > before.heapBytes + HEAP_GROWTH, 'the heap has grown'],
    [clean && after.rssBytes > before.rssBytes + PROCESS_GROWTH, 'the process has grown'],
  ];
  return rules.filter(([broken]) => broken).map(([, what]) => what);
}
