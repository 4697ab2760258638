import { type Command, Option } from 'commander';
import { RHYTHMS, type Rhythm } from '../../ecg/rhythm.ts';
import { synthesise, toCsv } from '../../ecg/synth.ts';
import { writeOutput } from '../../files/output.ts';
import { examples, jsonOption, number, wholeNumber } from '../options.ts';
import { type Io, printJson, printLines } from '../terminal/io.ts';

interface SynthCommandOptions {
  rhythm: Rhythm;
  seconds: number;
  rate: number;
  seed: number;
  out: string;
  json?: boolean;
}

/** `blindbeat synth`: writes a synthetic ECG. */
export function addSynth(program: Command, io: Io): void {
  const command = program
    .command('synth')
    .summary('write a synthetic ECG')
    .description(
      'Write a synthetic single-lead ECG as CSV: time in seconds, millivolts. The same seed gives the ' +
        'same ECG.',
    )
    .addOption(new Option('--rhythm <name>', 'what the heart does').choices(RHYTHMS).default('normal'))
    .option('--seconds <s>', 'length', number(1, 86_400), 30)
    .option('--rate <hz>', 'samples per second', number(100, 2000), 300)
    .option('--seed <n>', 'seed', wholeNumber(0), 1)
    .requiredOption('-o, --out <file>', 'the CSV file to write')
    .addOption(jsonOption())
    .action(async ({ rhythm, seconds, rate, seed, out, json }: SynthCommandOptions) => {
      const recording = synthesise({ rhythm, seconds, rate, seed });
      const text = toCsv(recording);
      await writeOutput(out, text);
      const samples = recording.leads[0].mv.length;
      if (json) printJson(io, { path: out, bytes: text.length, samples, rhythm, seconds, rate, seed });
      else
        printLines(io.stdout, [`${out}: ${recording.name}, ${seconds} s, ${samples} samples at ${rate} Hz`]);
    });
  examples(command, [
    'blindbeat synth --out normal.csv',
    'blindbeat synth --rhythm af --seconds 30 --out af.csv',
    'blindbeat classify af.csv',
  ]);
}
