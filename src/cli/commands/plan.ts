import type { Command } from 'commander';
import { keySwitches, multiplications } from '../../ckks/evaluator/operations.ts';
import { compile } from '../../ckks/planner/compile.ts';
import { type Plan, planCircuit } from '../../ckks/planner/plan.ts';
import { parametersJson } from '../../ckks/ring/parameters.ts';
import { bitLength } from '../../ckks/ring/primes.ts';
import type { Manifest, Outputs } from '../../ckks/wire/manifest.ts';
import { writeOutput } from '../../files/output.ts';
import { formatBytes, formatCount, formatMs } from '../../measure/format.ts';
import { loadModel } from '../../model/files.ts';
import { readCosts } from '../files/input.ts';
import {
  examples,
  jsonOption,
  keyBudgetOption,
  keySwitchingOption,
  modelOption,
  outputsOption,
  type ScheduleOptions,
  scheduleChoice,
  scheduleCostsOption,
} from '../options.ts';
import { type Colours, coloursOf, type Io, printable, printJson, printLines } from '../terminal/io.ts';
import { describeParameters, STAGE_COLUMNS, stageCells } from '../terminal/plan.ts';
import { table } from '../terminal/table.ts';

interface PlanCommandOptions extends ScheduleOptions {
  model: string;
  outputs: Outputs;
  costs?: string;
  manifest?: string;
  json?: boolean;
}

/** `blindbeat plan`: all that is known before any key is made. */
export function addPlan(program: Command, io: Io): void {
  const command = program
    .command('plan')
    .summary('show what an encrypted classification takes, before any key is made')
    .description(
      'Plan the encrypted evaluation of a model and show it: every stage with its place in the chain of primes and ' +
        'its operations, parameters, keys, sizes on the wire, memory and time. Needs no key and takes a second.',
    )
    .addOption(modelOption())
    .addOption(outputsOption())
    .addOption(keyBudgetOption())
    .addOption(keySwitchingOption())
    .addOption(scheduleCostsOption())
    .option('--costs <file>', 'estimate times with costs measured by bench --calibrate; the plan is the same')
    .option('--manifest <file>', 'write the manifest: what clients need to take part, without weights')
    .addOption(jsonOption())
    .action(async (options: PlanCommandOptions) => {
      const model = await loadModel(options.model);
      const circuit = compile(model, { outputs: options.outputs, ...(await scheduleChoice(options)) });
      const costs = options.costs === undefined ? undefined : await readCosts(options.costs);
      const planned = planCircuit(model, circuit, 'fast', costs);
      if (options.manifest) await writeOutput(options.manifest, manifestText(planned.manifest));
      if (options.json) printJson(io, planJson(planned, options.manifest));
      else printLines(io.stdout, planLines(planned, options, coloursOf(io.stdout)));
    });
  examples(command, [
    'blindbeat plan',
    'blindbeat plan --key-budget 100',
    'blindbeat plan --outputs scores+map --manifest manifest.json',
    'blindbeat plan --model ./my-model --json | jq .bytes',
  ]);
}

/** A manifest as the text of its file. */
export function manifestText(manifest: Manifest): string {
  return `${JSON.stringify(manifest, null, 2)}\n`;
}

function planJson({ manifest, stages, operations, bytes, estimate }: Plan, file?: string) {
  return {
    model: manifest.model.name,
    planHash: manifest.planHash,
    params: parametersJson(manifest.parameters),
    stages,
    operations,
    keys: manifest.keys,
    bytes,
    estimate,
    scoreBound: manifest.scoreBound,
    scoreLimit: manifest.scoreLimit,
    ...(file !== undefined && { manifest: file }),
  };
}

function planLines(planned: Plan, options: PlanCommandOptions, colours: Colours): string[] {
  const { manifest, bytes, estimate } = planned;
  const { parameters, keys } = manifest;
  const { primes, special } = parameters;
  const { memory } = estimate;
  const fact = (name: string, text: string) => `  ${colours.dim(name.padEnd(14))}${text}`;
  const count = keys.galois.length;
  return [
    '',
    `  ${colours.bold(printable(manifest.model.name))}  ${colours.dim(`${manifest.samples} samples, outputs ${manifest.outputs}, plan ${manifest.planHash.slice(0, 12)}`)}`,
    '',
    ...stageLines(planned, colours),
    '',
    fact('parameters', `${describeParameters(manifest)} security`),
    fact('primes', `${primes.map(bitLength).join(' ')} bits, special ${bitLength(special)}`),
    fact(
      'keys',
      `relinearisation at ${keys.relinearisation.map(({ limbs }) => limbs).join(', ')} limbs, ${count} rotations (step:limbs)`,
    ),
    ...wrap(
      keys.galois.map(({ step, limbs }) => `${step}:${limbs}`),
      62,
    ).map((line) => fact('', line)),
    fact(
      'client sends',
      `${formatBytes(bytes.evaluationKeys)} evaluation keys once, ${formatBytes(bytes.request)} per ECG`,
    ),
    fact('server sends', `${formatBytes(bytes.reply)} per ECG`),
    fact(
      'memory',
      `${formatBytes(memory.ciphertexts)} ciphertexts, ${formatBytes(memory.keys)} keys, ${formatBytes(memory.weights)} weights`,
    ),
    fact('', 'beside about 0.4 GB for Node and SEAL themselves'),
    fact('time', `about ${formatMs(estimate.serverMs)} per ECG on one core of the server`),
    fact(
      'scores',
      `no class beyond ±${manifest.scoreLimit}; the last prime has room for ±${manifest.scoreBound.toFixed(0)}`,
    ),
    ...(options.manifest ? ['', `  manifest written to ${options.manifest}`] : []),
  ];
}

function stageLines({ stages, operations, estimate }: Plan, colours: Colours): string[] {
  const arrow = ([from, to]: [number, number]) => (from === to ? String(from) : `${from} → ${to}`);
  const rows = stages.map((stage) => [
    stage.name,
    arrow(stage.limbs),
    arrow(stage.ciphertexts),
    stage.amounts === undefined ? '' : formatCount(stage.amounts),
    ...stageCells(stage).slice(1),
    formatMs(stage.estimateMs),
  ]);
  const total = [
    'all',
    '',
    '',
    '',
    formatCount(keySwitches(operations)),
    formatCount(multiplications(operations)),
    formatMs(estimate.serverMs),
  ];
  const right = (title: string) => ({ title, align: 'right' as const });
  const columns = [
    { title: 'stage' },
    right('limbs'),
    right('ciphertexts'),
    right('amounts'),
    ...STAGE_COLUMNS.slice(1),
    right('time'),
  ];
  return table(columns, [...rows, total.map((cell) => colours.bold(cell))], colours);
}

/** Words joined by blanks into lines of at most `width` columns. */
function wrap(words: string[], width: number): string[] {
  const lines: string[] = [];
  for (const word of words) {
    const last = lines.at(-1);
    if (last !== undefined && last.length + 1 + word.length <= width)
      lines[lines.length - 1] = `${last} ${word}`;
    else lines.push(word);
  }
  return lines;
}
