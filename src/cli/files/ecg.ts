import { type Command, Option } from 'commander';
import { readRecording } from '../../ecg/files.ts';
import { type Preprocessing, prepareSegment, type Segment } from '../../ecg/preprocess.ts';
import { type Lead, type Recording, selectLead } from '../../ecg/recording.ts';
import { RHYTHMS, type Rhythm } from '../../ecg/rhythm.ts';
import { synthesise } from '../../ecg/synth.ts';
import { BlindbeatError } from '../../errors.ts';
import { number, wholeNumber } from '../options.ts';
import { printable } from '../terminal/io.ts';

/** What a user says about the ECG. */
export interface EcgOptions {
  rhythm?: Rhythm;
  seed?: number;
  lead?: string;
  rate?: number;
  start?: number;
}

/** A recording, the lead of it, and the segment that goes into the network. */
export interface EcgInput {
  recording: Recording;
  lead: Lead;
  segment: Segment;
}

const SYNTHETIC_RATE = 300;

/** Adds the argument for an ECG, and the options of `EcgOptions`. */
export function ecgOptions(command: Command): Command {
  return command
    .argument(
      '[ecg]',
      'WFDB record (.hea, .mat, .dat or its name) or table of numbers (.csv, .tsv, .txt) in mV',
    )
    .addOption(new Option('--rhythm <name>', 'a built-in synthetic ECG instead of a file').choices(RHYTHMS))
    .option('--seed <n>', 'seed of the synthetic ECG (default: 1)', wholeNumber(0))
    .option('--lead <name|number>', 'which lead of a recording with several (default: the first)')
    .option('--rate <hz>', 'samples per second, for a file that does not say', number(1, 100_000))
    .option('--start <s>', 'where in the recording the segment starts (default: its middle)', number(0));
}

/**
 * Reads an ECG file, or makes a synthetic ECG when none is named, and prepares the segment.
 *
 * @throws BlindbeatError USAGE, FILE or ECG
 */
export async function readEcg(
  path: string | undefined,
  options: EcgOptions,
  preprocessing: Preprocessing,
): Promise<EcgInput> {
  const recording = path === undefined ? synthetic(options, preprocessing) : await fromFile(path, options);
  const lead = selectLead(recording, options.lead);
  const segment = prepareSegment(lead.mv, recording.rate, preprocessing, { start: options.start });
  return { recording, lead, segment };
}

function synthetic({ rhythm = 'normal', seed = 1, rate, start = 0 }: EcgOptions, p: Preprocessing) {
  return synthesise({ rhythm, seed, rate: rate ?? SYNTHETIC_RATE, seconds: start + p.seconds });
}

async function fromFile(path: string, { rhythm, seed, rate }: EcgOptions): Promise<Recording> {
  if (rhythm !== undefined || seed !== undefined) {
    throw new BlindbeatError(
      'USAGE',
      `--rhythm and --seed are for the synthetic ECG: give either them or the file ${path}`,
    );
  }
  const recording = await readRecording(path, { rate });
  if (rate !== undefined && Math.abs(recording.rate / rate - 1) > 0.01) {
    throw new BlindbeatError(
      'ECG',
      `${path} says that it has ${recording.rate} samples per second, not ${rate}: leave --rate out`,
    );
  }
  return recording;
}

/** "records/A00001, 300 Hz, lead 1 of 2 (II), 30.0 s from 12.5 s" */
export function describeEcg({ recording, lead, segment }: EcgInput): string {
  const { rate, leads } = recording;
  const parts = [recording.name, `${Number(rate.toFixed(2))} Hz`];
  if (leads.length > 1) parts.push(`lead ${lead.name} of ${leads.length}`);
  const start = segment.startSeconds > 0 ? ` from ${segment.startSeconds.toFixed(1)} s` : '';
  parts.push(`${segment.seconds.toFixed(1)} s${start}${segment.repeated ? ', repeated' : ''}`);
  return printable(parts.join(' · '));
}
